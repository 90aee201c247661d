/**
 * The executable: subcommands, help, version; errors to exit codes.
 *
 * @module
 */

import { type CAC, type Command, cac } from "cac";
import { VERSION } from "../src/base/version.ts";
import { commandLine, exit, onUncaught, runtimeName } from "../src/platform/process.ts";
import { CLUSTER_COMMANDS } from "./cluster_specs.ts";
import { ADDRESS, type CommandSpec, JSON_FLAG } from "./command_spec.ts";
import { DATA_COMMANDS } from "./data_specs.ts";
import { NODE } from "./node_specs.ts";
import type { RawOptions } from "./options.ts";
import { EXIT, print, reportError, UsageError } from "./output.ts";

const DEV: CommandSpec = {
  usage: "dev",
  about: "Run a whole cluster on this machine until Ctrl-C",
  options: [
    ["--nodes <n>", "Nodes (default 3)"],
    ["--port <n>", "First port (default 7001)"],
    ["--data <dir>", "Keep the data here (default: a fresh folder that is removed)"],
  ],
  examples: ["cstore dev", "cstore dev --nodes 5 --data ./data"],
  run: async (_words, options) => (await import("./commands/dev_command.ts")).runDev(options),
};

const WAL: CommandSpec = {
  usage: "wal <action> <dir>",
  about: "Look into a node's log, or repair it: inspect, verify, repair; code 65 if it is damaged",
  options: [
    ["--accept-data-loss", "repair: do it; without it only what would be lost is shown"],
    JSON_FLAG,
  ],
  examples: [
    "cstore wal verify ./data/n1",
    "cstore wal inspect ./data/n1 --json",
    "cstore wal repair ./data/n1",
  ],
  run: async (words, options) => (await import("./commands/wal_command.ts")).runWal(words, options),
};

const THROUGHPUT: CommandSpec = {
  usage: "bench-throughput",
  about:
    "Measure operations a second and latency, on a cluster of its own unless --address is given",
  options: [
    ["--nodes <n>", "Nodes of the own cluster (default 3)"],
    ADDRESS,
    ["--clients <n>", "Connections (default 1)"],
    ["--in-flight <n>", "Requests under way over all clients (default 64)"],
    ["--rate <n>", "Operations a second from a fixed schedule, or max (default max)"],
    ["--value-bytes <n>", "Bytes of a document (default 128)"],
    ["--duration <time>", "Measured time (default 10s)"],
    ["--warmup <time>", "Time before it (default 1s)"],
    ["--read-ratio <r>", "Share of linearizable reads, 0 to 1 (default 0)"],
    ["--sync-mode <mode>", "sync or async, for the own cluster (default sync)"],
    ["--compression <mode>", "auto, zstd or none, for the own cluster (default auto)"],
    ["--data <dir>", "Folder for the own cluster's data (default: a fresh one)"],
    JSON_FLAG,
  ],
  examples: [
    "cstore bench throughput --in-flight 512",
    "cstore bench throughput --rate 5000 --duration 30s --json",
  ],
  run: async (_words, options) =>
    (await import("./commands/bench_command.ts")).benchThroughput(options),
};

const FAILOVER: CommandSpec = {
  usage: "bench-failover",
  about: "Kill, pause or replace the leader under load and time what clients see",
  options: [
    ["--rounds <n>", "Rounds (default 10)"],
    ["--fault <kind>", "kill, pause or promote (default kill)"],
    ["--nodes <n>", "Nodes (default 3)"],
    ["--rate <n>", "Writes a second (default 500)"],
    ["--data <dir>", "Folder for the cluster's data (default: a fresh one)"],
    JSON_FLAG,
  ],
  examples: ["cstore bench failover", "cstore bench failover --fault promote --rounds 20 --json"],
  run: async (_words, options) =>
    (await import("./commands/bench_command.ts")).benchFailover(options),
};

const COMMANDS = [NODE, DEV, ...CLUSTER_COMMANDS, ...DATA_COMMANDS, WAL, THROUGHPUT, FAILOVER];
const GROUPS = ["cluster", "bench"];

/** cac gives numbers for texts like 007 and 1e5: everything is read again from the raw words. */
function rawOptions(spec: CommandSpec, words: readonly string[]): RawOptions {
  const options: Record<string, unknown> = {};
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i] ?? "";
    if (word === "--") break;
    const match = /^--([a-z][a-z-]*)(?:=(.*))?$/s.exec(word);
    if (match === null) {
      if (word.startsWith("-") && word !== "-" && word !== "-h" && !/^-\d/.test(word))
        throw new UsageError(`Unknown option ${word}`, hint(spec));
      continue;
    }
    const name = match[1] ?? "";
    if (name === "help") continue;
    const flags = spec.options.find(
      ([text]) => text === `--${name}` || text.startsWith(`--${name} `),
    );
    if (flags === undefined)
      throw new UsageError(
        `Unknown option --${name}`,
        didYouMean(
          name,
          spec.options.map(([text]) => text.slice(2).split(" ")[0] ?? ""),
          "--",
        ) || hint(spec),
      );
    const key = name.replace(/-([a-z])/g, (_all, letter: string) => letter.toUpperCase());
    if (key in options) throw new UsageError(`Option --${name} is given more than once`);
    if (!flags[0].includes("<")) {
      options[key] = true;
      continue;
    }
    const inline = match[2];
    const value = inline ?? words[i + 1];
    if (value === undefined || (inline === undefined && value.startsWith("--")))
      throw new UsageError(`Option --${name} needs a value`, hint(spec));
    if (inline === undefined) i += 1;
    options[key] = value;
  }
  return options;
}

function hint(spec: CommandSpec): string {
  return `See cstore ${spec.usage.split(" ")[0]?.replace("-", " ")} --help`;
}

/** The nearest known word within two changes. */
function didYouMean(word: string, known: readonly string[], prefix = ""): string {
  const near = known
    .map((name) => ({ name, far: distance(word, name) }))
    .sort((a, b) => a.far - b.far)[0];
  return near !== undefined && near.far <= 2 ? `Did you mean ${prefix}${near.name}?` : "";
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** Joins the two words of a grouped command: cac has no nested commands. */
function spliceGroup(words: readonly string[]): string[] {
  const [first, second, ...rest] = words;
  const isHelpWord = first === "help";
  if (isHelpWord) return [...spliceGroup(words.slice(1)), "--help"];
  if (first === undefined || !GROUPS.includes(first)) return [...words];
  const known = COMMANDS.map((spec) => spec.usage.split(" ")[0] ?? "").filter((name) =>
    name.startsWith(`${first}-`),
  );
  const names = known.map((name) => name.slice(first.length + 1));
  if (second === undefined || second === "--help" || second === "-h") {
    print(`cstore ${first} needs one more word:\n`);
    for (const spec of COMMANDS) {
      if (spec.usage.startsWith(`${first}-`))
        print(`  cstore ${spec.usage.replace("-", " ").padEnd(36)} ${spec.about}`);
    }
    exit(second === undefined ? EXIT.usage : EXIT.ok);
  }
  if (!names.includes(second)) {
    throw new UsageError(
      `Unknown command "${first} ${second}"`,
      didYouMean(second, names, `cstore ${first} `) ||
        `Known: ${names.map((name) => `${first} ${name}`).join(", ")}`,
    );
  }
  return [`${first}-${second}`, ...rest];
}

function declare(program: CAC, spec: CommandSpec): Command {
  const command = program.command(spec.usage, spec.about, { allowUnknownOptions: true });
  for (const [flags, about] of spec.options) command.option(flags, about);
  for (const example of spec.examples) command.example(`  ${example}`);
  return command;
}

/** cac prints the joined name; people type two words. */
function printHelp(spec: CommandSpec): void {
  const [name = "", ...rest] = spec.usage.split(" ");
  print(
    `${spec.about}\n\nUsage: cstore ${[name.replace("-", " "), ...rest].join(" ")} [options]\n`,
  );
  print("Examples:");
  for (const example of spec.examples) print(`  ${example}`);
  print("\nOptions:");
  const width = Math.max(...spec.options.map(([flags]) => flags.length));
  for (const [flags, about] of spec.options) print(`  ${flags.padEnd(width)}  ${about}`);
  print(`  ${"--help, -h".padEnd(width)}  Show this`);
}

function printOverview(): void {
  print("cstore: a replicated document store\n");
  print("First steps:\n  cstore dev\n  cstore cluster status\n");
  print("Commands:");
  for (const spec of COMMANDS) {
    const name = spec.usage.split(" ")[0] ?? "";
    print(`  cstore ${name.replace("-", " ").padEnd(22)} ${spec.about}`);
  }
  print("\ncstore COMMAND --help shows options and examples; --version the version.");
  print(
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable, 4 refused, 5 no led quorum, 6 time-out,",
  );
  print("65 damaged log, 70 bug, 74 failing disk, 130 interrupted.");
}

async function main(): Promise<void> {
  const words = commandLine();
  if (words.length === 0) {
    printOverview();
    exit(EXIT.usage);
  }
  const [first] = words;
  if (first === "--help" || first === "-h" || (first === "help" && words.length === 1))
    return printOverview();
  if (first === "--version" || first === "version")
    return print(`cstore ${VERSION} (${runtimeName()})`);
  const spliced = spliceGroup(words);
  const program = cac("cstore");
  const specs = new Map<string, CommandSpec>();
  for (const spec of COMMANDS) {
    declare(program, spec);
    specs.set(spec.usage.split(" ")[0] ?? "", spec);
  }
  const spec = specs.get(spliced[0] ?? "");
  if (spec === undefined) {
    const names = [...specs.keys()].map((name) => name.replace("-", " "));
    throw new UsageError(
      `Unknown command "${words[0]}"`,
      didYouMean(words[0] ?? "", [...names, ...GROUPS]) || "See cstore --help",
    );
  }
  if (spliced.includes("--help") || spliced.includes("-h")) return printHelp(spec);
  const options = rawOptions(spec, spliced.slice(1));
  await spec.run(positionals(spec, spliced.slice(1)), options);
}

/** Words that are neither options nor their values, as they were typed. */
function positionals(spec: CommandSpec, words: readonly string[]): string[] {
  const found: string[] = [];
  for (let i = 0; i < words.length; i += 1) {
    const word = words[i] ?? "";
    if (word === "--") return [...found, ...words.slice(i + 1)];
    if (!word.startsWith("--")) {
      found.push(word);
      continue;
    }
    const takesValue = spec.options.some(([flags]) => flags.startsWith(`${word} <`));
    if (takesValue) i += 1;
  }
  const allowed = spec.usage.includes("...") ? 100 : spec.usage.split(" ").length - 1;
  if (found.length > allowed)
    throw new UsageError(`Too many words: "${found[allowed]}"`, hint(spec));
  return found;
}

const wantsJson = commandLine().includes("--json");
onUncaught((cause) => exit(reportError(cause, wantsJson)));
try {
  await main();
} catch (error) {
  exit(reportError(error, wantsJson));
}
