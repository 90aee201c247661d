/**
 * Declaration of a command of the executable, and the options that many share.
 *
 * @module
 */

import type { RawOptions } from "./options.ts";

/** One command: its words, its options, and what it does. */
export interface CommandSpec {
  /** As cac reads it; two words are joined to one before parsing. */
  readonly usage: string;
  readonly about: string;
  readonly options: readonly (readonly [flags: string, about: string])[];
  readonly examples: readonly string[];
  readonly run: (words: readonly string[], options: RawOptions) => Promise<void>;
}

/** Addresses of the nodes to contact. */
export const ADDRESS = [
  "--address <list>",
  "Nodes to talk to, HOST:PORT[,HOST:PORT] (default: those of cstore dev)",
] as const;
/** For programs. */
export const JSON_FLAG = ["--json", "Print JSON with stable fields"] as const;
/** How long to wait. */
export const TIMEOUT = ["--timeout <time>", "Longest wait, like 500ms or 5s"] as const;
