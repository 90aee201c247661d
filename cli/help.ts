/**
 * Help of the executable and of each command, and suggestions for words that are unknown.
 *
 * @module
 */

import type { CommandSpec } from "./command_spec.ts";
import { print, UsageError } from "./output.ts";

/** The one or two words that name a command. */
export function commandName({ usage }: Pick<CommandSpec, "usage">): string {
  return usage.replace(/ *[<[].*/, "");
}

/** Where to read about a command. */
export function hint(spec: CommandSpec): string {
  return `See cstore ${commandName(spec)} --help`;
}

/** The error for words that name no command. */
export function unknownCommand(
  words: readonly string[],
  commands: readonly CommandSpec[],
): UsageError {
  const [first = "", second] = words;
  const names = commands.map(commandName);
  const group = names.filter((name) => name.startsWith(`${first} `));
  if (group.length === 0) {
    const whole = names.filter((name) => name.endsWith(` ${first}`));
    if (whole.length > 0) {
      return new UsageError(`Unknown command "${first}"`, `Did you mean ${whole.join(", ")}?`);
    }
    const known = [...new Set(names.map((name) => name.split(" ")[0] ?? ""))];
    return new UsageError(
      `Unknown command "${first}"`,
      nearest(first, known) || "See cstore --help",
    );
  }
  const typed = `${first} ${second ?? ""}`.trim();
  const near = nearest(
    `cstore ${typed}`,
    group.map((name) => `cstore ${name}`),
  );
  return new UsageError(`Unknown command "${typed}"`, near || `Known: ${group.join(", ")}`);
}

/** A question with the nearest known word within two changes; empty when none is near. */
export function nearest(word: string, known: readonly string[]): string {
  const near = known
    .map((name) => ({ name, far: distance(word, name) }))
    .sort((a, b) => a.far - b.far)[0];
  return near !== undefined && near.far <= 2 ? `Did you mean ${near.name}?` : "";
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

/** Usage, examples and options of one command. */
export function printHelp(spec: CommandSpec): void {
  print(`${spec.about}\n\nUsage: cstore ${spec.usage} [options]\n`);
  print("Examples:");
  for (const example of spec.examples) print(`  ${example}`);
  print("\nOptions:");
  const width = Math.max(...spec.options.map(([flags]) => flags.length));
  for (const [flags, about] of spec.options) print(`  ${flags.padEnd(width)}  ${about}`);
  print(`  ${"--help, -h".padEnd(width)}  Show this`);
}

/** The commands of a group, such as `cluster`. */
export function printGroup(group: readonly CommandSpec[]): void {
  const [first = ""] = commandName(group[0] ?? { usage: "" }).split(" ");
  print(`cstore ${first} needs one more word:\n`);
  for (const { usage, about } of group) print(`  cstore ${usage.padEnd(36)} ${about}`);
}

/** All commands, the first steps and the exit codes. */
export function printOverview(commands: readonly CommandSpec[]): void {
  print("cstore: a replicated document store\n");
  print("First steps:\n  cstore dev\n  cstore cluster status\n");
  print("Commands:");
  for (const spec of commands) print(`  cstore ${commandName(spec).padEnd(22)} ${spec.about}`);
  print("\ncstore COMMAND --help shows options and examples; --version the version.");
  print(
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable, 4 refused, 5 no led quorum, 6 time-out,",
  );
  print("65 damaged log, 70 bug, 74 failing disk, 130 interrupted.");
}
