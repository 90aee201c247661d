/**
 * What clients saw, and whether one order of all operations explains it: a Wing-Gong search for
 * each key, with memory of the states it has been in (Lowe's refinement).
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

/** Whether some order that respects real time explains all operations on one key. */
export function isLinearizable(operations: readonly Operation[]): boolean {
  return new OrderSearch(operations).isExplained();
}

/** Order by version; a write comes before the reads of what it wrote. */
function versionRank({ version = 0, kind }: Operation): number {
  return 2 * version + (kind === "get" ? 1 : 0);
}

/** States that an order may go on to, with the required operations that are left then. */
type Steps = Generator<{ readonly state: string | null; readonly left: number }, undefined>;

/**
 * Depth-first over the orders that respect real time. An operation of unknown outcome has no end
 * and may also be left out. It is tried only where the next one in the order could not stand
 * without it: in any other order it may as well be missing.
 */
class OrderSearch {
  /** Operations that must be in the order, by start. */
  readonly #required: readonly Operation[];
  /** Operations that may be in it, by start. */
  readonly #optional: readonly Operation[];
  readonly #done: Uint8Array;
  readonly #isTaken: Uint8Array;
  /**
   * Required ones with a version, in order of it, a write before those who read it: they say how
   * the writes were ordered, so no other order needs to be tried.
   */
  readonly #versioned: readonly number[];
  readonly #seen = new Set<string>();
  /** All required ones before it are done. */
  #low = 0;
  /** No required one from here on was ever done. */
  #high = 0;

  constructor(operations: readonly Operation[]) {
    const sorted = [...operations].sort((a, b) => a.startMs - b.startMs);
    this.#required = sorted.filter((operation) => operation.outcome !== "unknown");
    this.#optional = sorted.filter((operation) => operation.outcome === "unknown");
    this.#done = new Uint8Array(this.#required.length);
    this.#isTaken = new Uint8Array(this.#optional.length);
    this.#versioned = this.#required
      .map((_, at) => at)
      .filter((at) => this.#required[at]!.version !== undefined)
      .sort((a, b) => versionRank(this.#required[a]!) - versionRank(this.#required[b]!));
  }

  /** Not by recursion: a history has more operations than a stack has room for calls. */
  isExplained(): boolean {
    if (this.#required.length === 0) return true;
    const path = [this.#steps(null, this.#required.length)];
    for (let last = path.at(-1); last !== undefined; last = path.at(-1)) {
      const { value: step } = last.next();
      if (step === undefined) path.pop();
      else if (step.left === 0) return true;
      else path.push(this.#steps(step.state, step.left));
    }
    return false;
  }

  /** What may come next. Each step is taken back when the next one is asked for. */
  *#steps(state: string | null, left: number): Steps {
    const savedLow = this.#low;
    while (this.#done[this.#low] === 1) this.#low += 1;
    const memo = `${state}|${this.#low}|${this.#progress()}`;
    if (!this.#seen.has(memo)) {
      this.#seen.add(memo);
      const end = this.#windowEnd();
      yield* this.#tryRequired(state, left, end);
      yield* this.#tryOptional(state, left, end);
    }
    this.#low = savedLow;
  }

  /** Which operations behind the first open one are in the order so far. */
  #progress(): string {
    let text = "";
    for (let i = this.#low; i < this.#high; i += 1) text += this.#done[i];
    text = text.replace(/0+$/, "");
    for (let i = 0; i < this.#isTaken.length; i += 1) if (this.#isTaken[i] === 1) text += `,${i}`;
    return text;
  }

  /** Only operations that start before every open one has ended may come next. */
  #windowEnd(): number {
    let horizon = Number.POSITIVE_INFINITY;
    let i = this.#low;
    for (; i < this.#required.length && this.#required[i]!.startMs <= horizon; i += 1)
      if (this.#done[i] === 0) horizon = Math.min(horizon, this.#required[i]!.endMs);
    while (i > this.#low && this.#required[i - 1]!.startMs > horizon) i -= 1;
    return i;
  }

  *#tryRequired(state: string | null, left: number, end: number): Steps {
    const first = this.#versioned.find((at) => this.#done[at] === 0);
    const lowest =
      first === undefined ? Number.POSITIVE_INFINITY : versionRank(this.#required[first]!);
    for (let i = this.#low; i < end; i += 1) {
      if (this.#done[i] === 1) continue;
      const operation = this.#required[i]!;
      if (operation.version !== undefined && versionRank(operation) > lowest) continue;
      const next = step(state, operation);
      if (next === undefined) continue;
      this.#done[i] = 1;
      this.#high = Math.max(this.#high, i + 1);
      yield { state: next.state, left: left - 1 };
      this.#done[i] = 0;
    }
  }

  *#tryOptional(state: string | null, left: number, end: number): Steps {
    const horizon = this.#horizon(end);
    let hasRemoval = false;
    for (let i = 0; i < this.#optional.length; i += 1) {
      const operation = this.#optional[i]!;
      if (operation.startMs > horizon) break;
      if (this.#isTaken[i] === 1) continue;
      // Removals that have begun and have no end are all the same: which one it is does not matter.
      if (operation.kind === "remove") {
        if (hasRemoval) continue;
        hasRemoval = true;
      }
      const next = step(state, operation);
      if (next === undefined || next.state === state) continue;
      if (!this.#isNeeded(state, next.state, end) && !this.#isExpected(next.state, horizon))
        continue;
      this.#isTaken[i] = 1;
      yield { state: next.state, left };
      this.#isTaken[i] = 0;
    }
  }

  #horizon(end: number): number {
    let horizon = Number.POSITIVE_INFINITY;
    for (let i = this.#low; i < end; i += 1)
      if (this.#done[i] === 0) horizon = Math.min(horizon, this.#required[i]!.endMs);
    return horizon;
  }

  /** Whether something that may come next can stand in `after`, and not in `before`. */
  #isNeeded(before: string | null, after: string | null, end: number): boolean {
    for (let i = this.#low; i < end; i += 1) {
      if (this.#done[i] === 1) continue;
      const operation = this.#required[i]!;
      if (step(after, operation) !== undefined && step(before, operation) === undefined)
        return true;
    }
    return false;
  }

  /** Whether a conditional write of unknown outcome may follow on a state. */
  #isExpected(state: string | null, horizon: number): boolean {
    for (let i = 0; i < this.#optional.length; i += 1) {
      const { kind, expect, startMs } = this.#optional[i]!;
      if (startMs > horizon) return false;
      if (kind === "cas" && this.#isTaken[i] === 0 && (expect ?? null) === state) return true;
    }
    return false;
  }
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
