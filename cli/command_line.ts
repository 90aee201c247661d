/**
 * Parses the command line with cac, without its conversions: a value stays the text that was typed
 * (`007`, `1e5`, `-5`, an empty one, a lone `-`), a command may have two words, an option is given
 * once, a flag takes `=true` or `=false`, an unknown option (`--constructor`, too) is an error.
 *
 * @module
 */

import { type CAC, cac } from "cac";
import type { CommandSpec } from "./command_spec.ts";
import { commandName, hint, nearest, unknownCommand } from "./help.ts";
import type { RawOptions } from "./options.ts";
import { UsageError } from "./output.ts";

/** A command with its words and options, as cac gave them; with `help` neither is checked. */
export interface ParsedCommand {
  readonly spec: CommandSpec;
  readonly words: readonly string[];
  readonly options: RawOptions;
  readonly isHelp: boolean;
}

/** In front of every text that cac must leave alone; it cannot stand in an argument. */
const SHIELD = "\0";
/** The same in front of a value behind `=`, which a flag does not take. */
const INLINE = "\0\0";
const unshield = (text: string): string => text.slice(text.lastIndexOf(SHIELD) + 1);

/** Parses the words behind the program's name. Throws UsageError. */
export function parseCommandLine(
  words: readonly string[],
  commands: readonly CommandSpec[],
  program: CAC = cac("cstore"),
): ParsedCommand {
  program.option("-h, --help", "Show this");
  for (const spec of commands) {
    const command = program.command(spec.usage, spec.about);
    for (const [flags, about] of spec.options) command.option(flags, about);
  }
  program.parse(["", "", ...shield(words, commands)], { run: false });
  const spec = commands.find(({ usage }) => usage === program.matchedCommand?.rawName);
  const { "--": rest = [], h: _, help, ...given } = program.options;
  if (spec === undefined) throw unknownCommand(words, commands);
  if (help !== undefined) return { spec, words: [], options: {}, isHelp: true };
  const found: string[] = [...program.args, ...rest];
  const refused = found.find((word) => word.startsWith(INLINE));
  if (refused !== undefined) {
    throw new UsageError(`A flag is =true or =false, not "${unshield(refused)}"`, hint(spec));
  }
  const plain = found.map(unshield);
  const { args = [] } = program.matchedCommand ?? {};
  if (plain.length > args.length && !args.some(({ variadic }) => variadic)) {
    throw new UsageError(`Too many words: "${plain[args.length]}"`, hint(spec));
  }
  return { spec, words: plain, options: optionsOf(spec, given), isHelp: false };
}

/** Words as cac may see them: the command's name in one, the texts out of its reach. */
function shield(words: readonly string[], commands: readonly CommandSpec[]): string[] {
  const pair = words.slice(0, 2).join(" ");
  const isPair = words.length > 1 && commands.some((spec) => commandName(spec) === pair);
  const [name = "", rest] = isPair ? [pair, words.slice(2)] : [words[0], words.slice(1)];
  const flags = commands.find((spec) => commandName(spec) === name)?.options.map(([one]) => one);
  const end = rest.indexOf("--") === -1 ? rest.length : rest.indexOf("--");
  const texts = rest.map((word, at) => {
    const isValue = flags?.some((one) => one.startsWith(`${rest[at - 1]} <`)) === true;
    if (at >= end) return word;
    return isValue && !word.startsWith("--") ? SHIELD + word : shieldOne(word, flags ?? []);
  });
  return [name, ...texts];
}

function shieldOne(word: string, flags: readonly string[]): string {
  const [, name, value] = /^(--(?!no-|constructor\b)[a-z][a-z-]*)(?:=(.*))?$/s.exec(word) ?? [];
  if (name === undefined) {
    if (/^-[^\d]/.test(word) && word !== "-h") throw new UsageError(`Unknown option ${word}`);
    return word === "-h" ? word : SHIELD + word;
  }
  const isBoolean = flags.includes(name) && (value === "true" || value === "false");
  return value === undefined || isBoolean ? word : `${name}=${INLINE}${value}`;
}

/** Options by their names in camel case: texts, and true or false for flags. */
function optionsOf(spec: CommandSpec, given: CAC["options"]): RawOptions {
  const entries = Object.entries(given).map(([name, value]) => {
    const dashed = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    const names = spec.options.map(([flags]) => flags.split(" ")[0] ?? "");
    const at = names.indexOf(`--${dashed}`);
    if (at === -1) {
      const word = dashed.length === 1 ? `-${dashed}` : `--${dashed}`;
      throw new UsageError(`Unknown option ${word}`, nearest(word, names) || hint(spec));
    }
    if (Array.isArray(value)) throw new UsageError(`Option --${dashed} is given more than once`);
    if (spec.options[at]?.[0].includes("<") === true && typeof value !== "string") {
      throw new UsageError(`Option --${dashed} needs a value`, hint(spec));
    }
    return [name, typeof value === "string" ? unshield(value) : value];
  });
  return Object.fromEntries(entries);
}
