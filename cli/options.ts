/**
 * Reads options from the command line, the environment and the file, and checks them.
 *
 * @module
 */

import { parseDuration, parseSize } from "../src/base/units.ts";
import { environment } from "../src/platform/process.ts";
import { UsageError } from "./output.ts";

/** An option as cac gives it: the text that was typed; of a flag true or false. */
export type OptionValue = string | boolean;

/** Options by their names in camel case, and behind them those of a configuration file. */
export interface RawOptions {
  readonly [name: string]: OptionValue | undefined | FileValues;
  readonly [FILE_VALUES]?: FileValues;
}

/** Values of a configuration file, whatever it holds. */
export interface FileValues {
  readonly [name: string]: unknown;
}

/** Where the values of a configuration file stand among the options. */
export const FILE_VALUES = "file values";

/** Default folder of a node. */
export const DEFAULT_DATA = "./cstore-data";

/** Where a value comes from: the command line, else CSTORE_NAME, else the file. */
export function originOf(options: RawOptions, name: string): string {
  if (options[name] !== undefined) return "command line";
  if (environment(variableOf(name)) !== undefined) return variableOf(name);
  return fromFile(options, name) === undefined ? "default" : "file";
}

function variableOf(name: string): string {
  return `CSTORE_${name.replace(/[A-Z]/g, "_$&").toUpperCase()}`;
}

function fromFile(options: RawOptions, name: string): unknown {
  return options[FILE_VALUES]?.[name];
}

/** A text: from the command line, else from CSTORE_NAME, else from the configuration file. */
export function textOption(options: RawOptions, name: string): string | undefined {
  const value = options[name] ?? environment(variableOf(name)) ?? fromFile(options, name);
  if (value === undefined || value === "") return undefined;
  return String(value);
}

/** A text that must be there. */
export function requiredOption(options: RawOptions, name: string, example: string): string {
  const value = textOption(options, name);
  if (value === undefined)
    throw new UsageError(
      `Option --${dashed(name)} is missing`,
      `For example: --${dashed(name)} ${example}`,
    );
  return value;
}

/** The address of the node that is begun: CSTORE_ADDRESS names nodes to talk to. */
export function newAddressOption(options: RawOptions): string {
  if (originOf(options, "address") !== variableOf("address")) {
    return requiredOption(options, "address", "10.0.0.1:7001");
  }
  throw new UsageError(
    "Option --address is missing",
    "CSTORE_ADDRESS names nodes to talk to, not the one that is begun",
  );
}

/** A whole number within a range. */
export function numberOption(
  options: RawOptions,
  name: string,
  range: { readonly min: number; readonly max: number; readonly fallback: number },
): number {
  const text = textOption(options, name);
  if (text === undefined) return range.fallback;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < range.min || value > range.max) {
    throw new UsageError(
      `Option --${dashed(name)} is a whole number from ${range.min} to ${range.max}, not "${text}"`,
    );
  }
  return value;
}

/** A share from 0 to 1. */
export function shareOption(options: RawOptions, name: string, fallback: number): number {
  const text = textOption(options, name);
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!(value >= 0 && value <= 1))
    throw new UsageError(`Option --${dashed(name)} is from 0 to 1, not "${text}"`);
  return value;
}

/** Milliseconds. */
export function durationOption(options: RawOptions, name: string, fallbackMs: number): number {
  const text = textOption(options, name);
  return text === undefined ? fallbackMs : parseDuration(text, `--${dashed(name)}`);
}

/** Bytes; undefined when the option is absent. */
export function sizeOption(options: RawOptions, name: string): number | undefined {
  const text = textOption(options, name);
  return text === undefined ? undefined : parseSize(text, `--${dashed(name)}`);
}

/** Texts with commas between them; none when the option is absent. */
export function listOption(options: RawOptions, name: string): string[] {
  const parts = (textOption(options, name) ?? "").split(",").map((part) => part.trim());
  return parts.filter((part) => part !== "");
}

/** A flag on the command line, or `true` in the configuration file. */
export function flagOption(options: RawOptions, name: string): boolean {
  const value = options[name] ?? fromFile(options, name) ?? false;
  if (typeof value === "boolean") return value;
  throw new UsageError(`Option ${name} is true or false, not "${String(value)}"`);
}

/** One of a few words. */
export function choiceOption<T extends string>(
  options: RawOptions,
  name: string,
  choices: { readonly allowed: readonly T[]; readonly fallback: T },
): T {
  const text = textOption(options, name);
  if (text === undefined) return choices.fallback;
  const found = choices.allowed.find((choice) => choice.toLowerCase() === text.toLowerCase());
  if (found === undefined) {
    throw new UsageError(
      `Option --${dashed(name)} is one of ${choices.allowed.join(", ")}, not "${text}"`,
    );
  }
  return found;
}

/** `n1=host:port,n2=host:port` */
export function parseMembers(text: string): { id: string; address: string }[] {
  return text.split(",").map((part) => {
    const [id, address, more] = part.trim().split("=");
    if (!id || !address || more !== undefined) {
      throw new UsageError(
        `Cannot read --cluster: "${part}" is not ID=HOST:PORT`,
        "For example: --cluster n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003",
      );
    }
    return { id, address };
  });
}

function dashed(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** How fresh reads are. Throws UsageError. */
export function readLevelOption(
  options: RawOptions,
): "linearizable" | "leader" | "stale" | undefined {
  const read = textOption(options, "read");
  if (read === undefined || read === "linearizable" || read === "leader" || read === "stale")
    return read;
  throw new UsageError(`Option --read is one of linearizable, leader, stale, not "${read}"`);
}

/** `--collation N`, as an option of a call; nothing without it. */
export function collationOption(options: RawOptions): {
  readonly collation?: { readonly strength: 1 | 2 | 3 };
} {
  const strength = numberOption(options, "collation", { min: 1, max: 3, fallback: 0 });
  return strength === 0 ? {} : { collation: { strength: strength as 1 | 2 | 3 } };
}
