/**
 * What clients saw, and whether one order of all operations explains it: a Wing-Gong search for
 * each
 * key, with memory of the states it has been in (Lowe's refinement).
 *
 * @module
 */

/** One operation on one key, as its client saw it. Values are unique over the whole history. */
export interface Operation {
  readonly client: number;
  readonly key: string;
  readonly kind: "put" | "get" | "cas" | "remove";
  /** Written, or read; null = no document. */
  value: string | null;
  /** cas: the value that was expected to be there. */
  readonly expect?: string | null;
  readonly startMs: number;
  endMs: number;
  /** `fail`: a cas that found another value. `unknown`: it may have happened, also later. */
  outcome: "ok" | "fail" | "unknown";
  /** Of the write, or of what was read. */
  version?: number;
}

/** Finds a key whose history no order explains; undefined when all are linearizable. */
export function findViolation(history: readonly Operation[]): string | undefined {
  const byKey = new Map<string, Operation[]>();
  for (const operation of history) {
    if (operation.kind === "get" && operation.outcome !== "ok") continue;
    const operations = byKey.get(operation.key) ?? [];
    operations.push(operation);
    byKey.set(operation.key, operations);
  }
  for (const [key, operations] of byKey) {
    if (!isLinearizable(operations)) return `key ${key}: ${describe(operations)}`;
  }
  return undefined;
}

function describe(operations: readonly Operation[]): string {
  const lines = [...operations]
    .sort((a, b) => a.startMs - b.startMs)
    .map(
      (o) =>
        `c${o.client} ${o.kind} ${o.value} [${o.startMs.toFixed(1)},${o.endMs.toFixed(1)}] ${o.outcome}`,
    );
  return lines.slice(-30).join("; ");
}

/**
 * Whether an operation may happen in a state, and the state after it; undefined when it may not.
 */
function step(state: string | null, operation: Operation): { state: string | null } | undefined {
  switch (operation.kind) {
    case "put":
      return { state: operation.value };
    case "remove":
      return { state: null };
    case "get":
      return operation.value === state ? { state } : undefined;
    case "cas": {
      const matches = state === (operation.expect ?? null);
      if (operation.outcome === "fail") return matches ? undefined : { state };
      return matches ? { state: operation.value } : undefined;
    }
  }
}

/**
 * Depth-first over the orders that respect real time. An operation of unknown outcome has no end
 * and
 * may also be left out.
 */
export function isLinearizable(operations: readonly Operation[]): boolean {
  const sorted = [...operations].sort((a, b) => a.startMs - b.startMs);
  const ends = sorted.map((o) => (o.outcome === "unknown" ? Number.POSITIVE_INFINITY : o.endMs));
  const done = new Uint8Array(sorted.length);
  const seen = new Set<string>();
  const required = sorted.filter((o) => o.outcome !== "unknown").length;
  let low = 0;
  /** No operation from here on was ever taken. */
  let high = 0;

  const search = (state: string | null, left: number): boolean => {
    if (left === 0) return true;
    const savedLow = low;
    while (low < sorted.length && done[low] === 1) low += 1;
    const memo = `${state}|${low}|${keyOf(done, low, high)}`;
    if (seen.has(memo)) {
      low = savedLow;
      return false;
    }
    seen.add(memo);
    let horizon = Number.POSITIVE_INFINITY;
    for (let i = low; i < sorted.length; i += 1) {
      if (done[i] === 0) horizon = Math.min(horizon, ends[i]!);
      if (sorted[i]!.startMs > horizon) break;
    }
    for (let i = low; i < sorted.length; i += 1) {
      const operation = sorted[i]!;
      if (operation.startMs > horizon) break;
      if (done[i] === 1) continue;
      const next = step(state, operation);
      if (next === undefined) continue;
      done[i] = 1;
      high = Math.max(high, i + 1);
      const isRequired = operation.outcome !== "unknown";
      if (search(next.state, left - (isRequired ? 1 : 0))) return true;
      done[i] = 0;
    }
    low = savedLow;
    return false;
  };
  return search(null, required);
}

function keyOf(done: Uint8Array, from: number, to: number): string {
  let text = "";
  for (let i = from; i < to; i += 1) text += done[i] === 1 ? "1" : "0";
  return text.replace(/0+$/, "");
}

/**
 * Every write has its own version, and whoever reads a value reads the version it was written as.
 */
export function findVersionViolation(history: readonly Operation[]): string | undefined {
  const byValue = new Map<string, number>();
  const byVersion = new Map<number, string>();
  for (const { key, value, version, outcome, kind } of history) {
    if (outcome !== "ok" || version === undefined || value === null || kind === "remove") continue;
    const name = `${key}=${value}`;
    const known = byValue.get(name);
    if (known !== undefined && known !== version)
      return `${name} has versions ${known} and ${version}`;
    const other = byVersion.get(version);
    if (other !== undefined && other !== name)
      return `version ${version} stands for ${other} and ${name}`;
    byValue.set(name, version);
    byVersion.set(version, name);
  }
  return undefined;
}
