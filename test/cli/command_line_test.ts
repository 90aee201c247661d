/**
 * The command line as cac parses it, and what the wrapper guards from cac 7.1: numbers made of
 * texts, values that begin with a dash, empty texts, a lone dash, flags with values, nested and
 * unknown commands.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { cac } from "cac";
import { parseCommandLine } from "../../cli/command_line.ts";
import { commandName } from "../../cli/help.ts";
import { UsageError } from "../../cli/output.ts";
import { COMMANDS } from "../../cli/specs.ts";

function parsed(...words: readonly string[]) {
  const { spec, words: rest, options } = parseCommandLine(words, COMMANDS);
  return { name: commandName(spec), words: rest, options };
}

function refusal(...words: readonly string[]): string {
  try {
    parsed(...words);
  } catch (error) {
    if (error instanceof UsageError) return `${error.message}. ${error.remedy}`;
    throw error;
  }
  throw new Error("the command line was accepted");
}

describe("texts reach commands as they were typed", () => {
  test.each([
    "007",
    "1e5",
    "0x10",
    "-5",
    "",
    "-",
    "true",
    "false",
    "a b",
    "=x",
    "a=b",
    "-0",
    "NaN",
  ])("value %j", (text) => {
    const expected = { name: "node", words: [], options: { id: text } };
    if (!text.startsWith("-") || /^-\d|^-$/.test(text)) {
      expect(parsed("node", "--id", text)).toEqual(expected);
    }
    expect(parsed("node", `--id=${text}`)).toEqual(expected);
  });

  test.each(["007", "1e5", "-5", "", "-", "true", "0", "{}", "number:5"])("word %j", (text) => {
    const words = ["get", "users", text];
    expect(parsed("doc", ...words)).toEqual({ name: "doc", words, options: {} });
    expect(parsed("doc", "get", "users", "--", text).words).toEqual(words);
  });

  test("a flag takes no word away, wherever it stands", () => {
    for (const words of [
      ["--json", "get", "users", "u1"],
      ["get", "--json", "users", "u1"],
      ["get", "users", "u1", "--json"],
    ]) {
      expect(parsed("doc", ...words)).toEqual({
        name: "doc",
        words: ["get", "users", "u1"],
        options: { json: true },
      });
    }
  });

  test("words behind -- are no options", () => {
    expect(parsed("doc", "get", "--json", "--", "--read", "-x").words).toEqual([
      "get",
      "--read",
      "-x",
    ]);
  });
});

describe("flags", () => {
  test.each([
    ["--yes", true],
    ["--yes=true", true],
    ["--yes=false", false],
  ])("%s", (word, value) => {
    expect(parsed("cluster", "unsafe-recover", "a", word).options).toEqual({ yes: value });
  });

  test.each(["--yes=0", "--yes=1", "--yes=", "--yes=no", "--yes=TRUE"])("%s is refused", (word) => {
    expect(refusal("cluster", "unsafe-recover", "a", word)).toContain("=true or =false");
  });

  const unknown = ["--no-yes", "---yes", "-yes", "--Yes", "--yes.no", "-x"];
  const inherited = ["--__proto__", "--constructor", "--constructor=x", "--to-string"];
  test.each([...unknown, ...inherited])("%s is unknown", (word) => {
    expect(refusal("cluster", "unsafe-recover", "a", word)).toContain("Unknown option");
  });
});

describe("options", () => {
  test("names are in camel case, values stay texts", () => {
    expect(parsed("doc", "put", "users", "{}", "--if-version", "0").options).toEqual({
      ifVersion: "0",
    });
  });

  test.each([
    [["node", "--id", "a", "--id", "b"], "--id is given more than once"],
    [["node", "--standby", "--standby"], "--standby is given more than once"],
    [["node", "--id"], "--id needs a value"],
    [["node", "--id", "--standby"], "--id needs a value"],
    [["node", "--datta", "x"], "Did you mean --data?"],
    [["cluster", "remove", "n1", "n2"], 'Too many words: "n2"'],
    [["cluster", "remve"], "Did you mean cstore cluster remove?"],
    [["cluster-remove", "n1"], 'Unknown command "cluster-remove"'],
    [["toString"], 'Unknown command "toString"'],
  ])("%j is refused", (words, text) => {
    expect(refusal(...words)).toContain(text);
  });
});

// The proof that nothing but cac reads the words: without its result there is no command.
test.each(COMMANDS.map((spec) => [commandName(spec), spec] as const))(
  "%s: words and options come from cac alone",
  (name, spec) => {
    const words = name.split(" ");
    const option = spec.options.find(([flags]) => !flags.includes("<"))?.[0];
    const given = option === undefined ? words : [...words, option];
    expect(parseCommandLine(given, COMMANDS).spec).toBe(spec);
    const nothing = cac("cstore");
    nothing.parse = () => ({ args: [], options: {} });
    expect(() => parseCommandLine(given, COMMANDS, nothing)).toThrow(UsageError);
    const emptied = cac("cstore");
    const parse = emptied.parse.bind(emptied);
    emptied.parse = (argv, how) => {
      parse(argv, how);
      emptied.args = [];
      emptied.options = {};
      return { args: [], options: {} };
    };
    const { words: left, options } = parseCommandLine([...given, "x"], COMMANDS, emptied);
    expect([left, options]).toEqual([[], {}]);
  },
);
