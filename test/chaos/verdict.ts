/**
 * What a history says about the cluster: whether it is linearizable, and whether an acknowledged
 * write is missing at the end.
 *
 * @module
 */

import {
  findVersionViolation,
  isLinearizable,
  type Operation,
} from "../simulation/checkers/history.ts";
import { operationsOf, type SeenOperation } from "./history_file.ts";

/** Violations that are described; more are counted only. */
const DESCRIBED_MAX = 5;

/** Operations that a description shows, the last being the one that nothing explains. */
const SHOWN_MAX = 12;

/** What was found. */
export interface Verdict {
  readonly linearizable: boolean;
  /** Acknowledged writes that nothing later may have overwritten and that the last read misses. */
  readonly lostAcknowledged: number;
  readonly failures: readonly string[];
}

/** Judges a whole history. */
export function judge(history: readonly SeenOperation[]): Verdict {
  const failures: string[] = [];
  let violations = 0;
  let lostAcknowledged = 0;
  for (const operations of byKey(history)) {
    const seen = operationsOf(operations);
    if (!isLinearizable(seen)) {
      violations += 1;
      if (violations <= DESCRIBED_MAX) failures.push(`not linearizable: ${describe(seen)}`);
    }
    const lost = lostWrites(operations);
    lostAcknowledged += lost.length;
    for (const { key, op, value, client } of lost.slice(0, DESCRIBED_MAX)) {
      failures.push(`lost: ${op} of ${key} = ${value}, acknowledged to client ${client}`);
    }
  }
  if (violations > DESCRIBED_MAX) failures.push(`${violations} keys are not linearizable`);
  const versions = findVersionViolation(operationsOf(history));
  if (versions !== undefined) failures.push(`versions: ${versions}`);
  return { linearizable: violations === 0, lostAcknowledged, failures };
}

function byKey(history: readonly SeenOperation[]): readonly SeenOperation[][] {
  const keys = new Map<string, SeenOperation[]>();
  for (const operation of history) {
    const known = keys.get(operation.key);
    if (known === undefined) keys.set(operation.key, [operation]);
    else known.push(operation);
  }
  return [...keys.values()];
}

/** The shortest beginning of the history that no order explains, from its end. */
function describe(operations: readonly Operation[]): string {
  const ends = operations.map(({ endMs }) => endMs).sort((a, b) => a - b);
  let good = 0;
  let bad = ends.length - 1;
  while (good < bad) {
    const middle = (good + bad) >>> 1;
    if (isLinearizable(until(operations, ends[middle]!))) good = middle + 1;
    else bad = middle;
  }
  const prefix = until(operations, ends[bad]!).sort((a, b) => shownAt(a) - shownAt(b));
  const lines = prefix.slice(-SHOWN_MAX).map(({ client, kind, value, expect, ...rest }) => {
    const change = kind === "cas" ? `${expect} to ${value}` : `${value}`;
    const end = rest.endMs === Number.POSITIVE_INFINITY ? "..." : rest.endMs.toFixed(3);
    return `client ${client} ${kind} ${change} [${rest.startMs.toFixed(3)}, ${end}] ${rest.outcome}`;
  });
  return `key ${operations[0]?.key}: ${lines.join("; ")}`;
}

/** What has not ended stands where it began, so that the end of the list is what came last. */
function shownAt({ startMs, endMs }: Operation): number {
  return endMs === Number.POSITIVE_INFINITY ? startMs : endMs;
}

/** As it was known at a moment: what had not ended then is unknown. */
function until(operations: readonly Operation[], endMs: number): Operation[] {
  return operations.flatMap((operation): Operation[] => {
    if (operation.endMs <= endMs) return [operation];
    const isWrite = operation.kind !== "get";
    if (operation.startMs > endMs || !isWrite || operation.outcome === "fail") return [];
    return [{ ...operation, outcome: "unknown", endMs: Number.POSITIVE_INFINITY }];
  });
}

/**
 * Acknowledged writes of one key that began after everything that can have left the state which the
 * last read saw; of those that followed each other, the last.
 */
export function lostWrites(operations: readonly SeenOperation[]): readonly SeenOperation[] {
  const reads = operations.filter(({ op, outcome }) => op === "get" && outcome === "ok");
  const last = reads.reduce<SeenOperation | undefined>(
    (latest, read) => (latest === undefined || read.start > latest.start ? read : latest),
    undefined,
  );
  if (last === undefined) return [];
  const writes = operations.filter(({ op, outcome }) => op !== "get" && outcome !== "fail");
  const written = (write: SeenOperation): string | null =>
    write.op === "delete" ? null : write.value;
  // Without such a write it is the state that the key began with.
  let originEnd = Number.NEGATIVE_INFINITY;
  for (const write of writes) {
    if (written(write) === last.value) originEnd = Math.max(originEnd, latestEnd(write));
  }
  const missing = writes.filter((write) => {
    return write.outcome === "ok" && write.end < last.start && write.start > originEnd;
  });
  return missing.filter((write) => !missing.some((later) => later.start > write.end));
}

/** When an operation may have taken effect at the latest. */
function latestEnd({ outcome, end }: SeenOperation): number {
  return outcome === "unknown" ? Number.POSITIVE_INFINITY : end;
}
