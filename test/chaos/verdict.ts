/**
 * What a history says about the cluster: whether it is linearizable, and whether an acknowledged
 * write is missing at the end.
 *
 * @module
 */

import { findVersionViolation, findViolation } from "../simulation/checkers/history.ts";
import { operationsOf, type SeenOperation } from "./history_file.ts";

/** Violations that are described; more are counted only. */
const DESCRIBED_MAX = 5;

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
    const violation = findViolation(operationsOf(operations));
    if (violation !== undefined) {
      violations += 1;
      if (violations <= DESCRIBED_MAX) failures.push(`not linearizable: ${violation}`);
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
  // The key began without a document, which is as if it had been removed before the run.
  let originEnd = last.value === null ? 0 : -1;
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
