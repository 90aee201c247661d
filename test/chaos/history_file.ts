/**
 * What the clients saw, one JSON object a line, so that any other checker can judge it.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import type { Operation } from "../simulation/checkers/history.ts";

/** One operation of one client; a client has one under way at a time. */
export interface HistoryLine {
  readonly client: number;
  readonly op: "put" | "get" | "cas" | "delete";
  readonly key: string;
  /** Written or read; null = no document, also for delete and for a get without an answer. */
  readonly value: string | null;
  /** cas: what it replaces; null = no document. */
  readonly expect?: string | null;
  /** Monotonic nanoseconds since the run began. */
  readonly start: number;
  readonly end: number;
  /** `fail`: certainly not executed. `unknown`: executed once or never, perhaps after `end`. */
  readonly outcome: "ok" | "fail" | "unknown";
  /** Why not ok. `VERSION_CONFLICT`: the cas found something else than `expect`. */
  readonly error?: string;
}

/** A line with what the format does not carry. */
export interface SeenOperation extends HistoryLine {
  /** Of the write, or of what was read. */
  readonly version?: number;
}

const OPS: readonly unknown[] = ["put", "get", "cas", "delete"];
const OUTCOMES: readonly unknown[] = ["ok", "fail", "unknown"];
const NS_PER_MS = 1e6;

/** The text of a history. */
export function formatHistory(history: readonly HistoryLine[]): string {
  return history.map((line) => `${JSON.stringify(withoutVersion(line))}\n`).join("");
}

function withoutVersion(line: SeenOperation): HistoryLine {
  const { version: _version, ...rest } = line;
  return rest;
}

/** Reads a history. Throws an Error that names the line. */
export function parseHistory(text: string): HistoryLine[] {
  return text.split("\n").flatMap((line, i) => (line.trim() === "" ? [] : [parseLine(line, i)]));
}

function parseLine(line: string, i: number): HistoryLine {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw new Error(`Cannot read line ${i + 1} of the history: it is not JSON`, { cause });
  }
  const wrong = wrongField(value);
  if (wrong !== undefined) throw new Error(`Cannot read line ${i + 1} of the history: ${wrong}`);
  return value as HistoryLine;
}

function wrongField(given: unknown): string | undefined {
  if (typeof given !== "object" || given === null) return "it is no object";
  const { client, op, key, value, expect, start, end, outcome } = given as Record<string, unknown>;
  const isText = (one: unknown): boolean => one === null || typeof one === "string";
  if (!Number.isInteger(client)) return "client is no number";
  if (!OPS.includes(op)) return `op ${JSON.stringify(op)} is unknown`;
  if (typeof key !== "string") return "key is no text";
  if (!isText(value)) return "value is neither a text nor null";
  if (op === "cas" && !isText(expect)) return "expect is neither a text nor null";
  if (typeof start !== "number" || typeof end !== "number") return "start or end is no number";
  if (end < start) return "it ends before it starts";
  if (!OUTCOMES.includes(outcome)) return `outcome ${JSON.stringify(outcome)} is unknown`;
  return undefined;
}

/** Writes a history for others to read. */
export function writeHistoryFile(path: string, history: readonly HistoryLine[]): void {
  writeFileSync(path, formatHistory(history));
}

/** Reads a history from a file. */
export function readHistoryFile(path: string): HistoryLine[] {
  return parseHistory(readFileSync(path, "utf8"));
}

/**
 * As the checker reads it: what was certainly not executed is left out, except a cas that failed
 * because it found something else, which says something about the state.
 */
export function operationsOf(history: readonly SeenOperation[]): Operation[] {
  return history.flatMap((line) => {
    const isConflict = line.op === "cas" && line.error === "VERSION_CONFLICT";
    if (line.outcome === "fail" && !isConflict) return [];
    if (line.op === "get" && line.outcome !== "ok") return [];
    const operation: Operation = {
      client: line.client,
      key: line.key,
      kind: line.op === "delete" ? "remove" : line.op,
      value: line.op === "delete" ? null : line.value,
      expect: line.expect ?? null,
      startMs: line.start / NS_PER_MS,
      endMs: line.end / NS_PER_MS,
      outcome: line.outcome,
      ...(line.version !== undefined && { version: line.version }),
    };
    return [operation];
  });
}
