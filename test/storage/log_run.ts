/**
 * One random history of a log that consensus owns: appends, supersessions, votes, compactions,
 * syncs that end when the run says so, kills, power cuts, failed syncs, crashes inside recovery.
 * After each restart the log must be the model after some prefix of what was written, and that
 * prefix must hold everything whose sync had ended.
 *
 * @module
 */

import { CorruptionError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import type { Entry, HardState } from "../../src/raft/types.ts";
import { EMPTY_BASE, type LogBase } from "../../src/storage/wal/log_table.ts";
import type { SegmentLog } from "../../src/storage/wal/segment_log.ts";
import type { SectorFate, SimulatedDisk } from "./fake_disk.ts";
import { diskOf, entryAt, openLog, settle } from "./log_fixture.ts";

/** What a log holds, as plain data. */
interface LogState {
  readonly hardState: HardState;
  readonly base: LogBase;
  readonly entries: readonly Entry[];
}

/** One record's effect, and the number of the record that must be durable for it to be. */
interface Step {
  readonly state: LogState;
  readonly record: number;
}

const EMPTY: LogState = {
  hardState: { term: 0, vote: undefined },
  base: EMPTY_BASE,
  entries: [],
};

/** How often things happened, so that a run that tests nothing shows. */
export interface RunCounts {
  writes: number;
  cuts: number;
  kills: number;
  failedSyncs: number;
  recoveriesCut: number;
  tornTails: number;
  lostRecords: number;
  compactions: number;
}

/** See the module. */
export class LogRun {
  readonly counts: RunCounts = {
    writes: 0,
    cuts: 0,
    kills: 0,
    failedSyncs: 0,
    recoveriesCut: 0,
    tornTails: 0,
    lostRecords: 0,
    compactions: 0,
  };
  readonly #random: SeededRandom;
  readonly #disk: SimulatedDisk;
  readonly #segmentSizeBytes: number;
  /** Syncs that the disk has not finished; the run ends them in order. */
  #syncs: (() => void)[] = [];
  #isAutomatic = true;
  #log: SegmentLog | undefined;
  /** States after each record since the log was opened; the first one is what opening gave. */
  #steps: Step[] = [];
  #durableRecord = 0;
  #hasFailed = false;
  #term = 0;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    this.#segmentSizeBytes = 1024 << this.#random.below(4);
    this.#disk = diskOf(seed + 1_000_000, {
      schedule: (complete) => {
        if (this.#isAutomatic) queueMicrotask(complete);
        else this.#syncs.push(complete);
      },
    });
  }

  async run(rounds: number): Promise<RunCounts> {
    await this.#open([EMPTY]);
    for (let round = 0; round < rounds; round += 1) {
      const steps = 1 + this.#random.below(25);
      for (let i = 0; i < steps && !this.#hasFailed; i += 1) await this.#step();
      await this.#crash();
    }
    return this.counts;
  }

  async #step(): Promise<void> {
    const dice = this.#random.below(100);
    if (dice < 45) this.#write();
    else if (dice < 60) this.#opened().requestSync();
    else if (dice < 85) this.#endSync();
    else if (dice < 90) this.#compact();
    else if (dice < 92) this.#failNextSync();
    else await settle(1);
    await Promise.resolve();
  }

  #write(): void {
    const log = this.#opened();
    const before = this.#last().state;
    let hardState: HardState | undefined;
    if (this.#random.chance(0.3)) {
      this.#term += 1;
      const vote = this.#random.chance(0.5) ? `n${this.#random.below(5)}` : undefined;
      hardState = { term: this.#term, vote };
    }
    const state = hardState === undefined ? before : { ...before, hardState };
    const states: LogState[] = hardState === undefined ? [] : [state];
    const entries: Entry[] = [];
    let kept = state.entries.length;
    // A new leader's entries take the place of a tail.
    if (this.#random.chance(0.2)) kept = this.#random.below(kept + 1);
    let current = { ...state, entries: state.entries.slice(0, kept) };
    const count = this.#random.below(4);
    for (let i = 0; i < count; i += 1) {
      const entry = this.#entryAfter(current);
      current = { ...current, entries: [...current.entries, entry] };
      entries.push(entry);
      states.push(current);
    }
    const record = log.write({ hardState, entries, commitIndex: current.base.index });
    for (const [i, after] of states.entries()) {
      this.#steps.push({ state: after, record: record - (states.length - 1 - i) });
    }
    this.counts.writes += states.length;
  }

  #entryAfter({ base, entries }: LogState): Entry {
    const last = entries.at(-1);
    const index = (last?.index ?? base.index) + 1;
    const firstSequence = last === undefined ? base.nextSequence : last.firstSequence + last.count;
    const size = this.#random.chance(0.1) ? this.#random.below(6_000) : this.#random.below(200);
    const values = ["v".repeat(size), this.#random.u32()];
    const term = Math.max(1, this.#term);
    return entryAt({ term, index, firstSequence }, values.slice(this.#random.below(2)));
  }

  #compact(): void {
    const { state } = this.#last();
    if (state.entries.length < 2) return;
    const entry = state.entries[this.#random.below(state.entries.length - 1)]!;
    const { index, term, firstSequence, count } = entry;
    const base = { index, term, nextSequence: firstSequence + count };
    const log = this.#opened();
    log.compactTo(base).catch(() => {});
    const entries = state.entries.filter((kept) => kept.index > index);
    // Its record is the last one written: nothing else is written within this turn.
    this.#steps.push({ state: { ...state, base, entries }, record: Number.POSITIVE_INFINITY });
    this.counts.compactions += 1;
  }

  #endSync(): void {
    this.#syncs.shift()?.();
  }

  #failNextSync(): void {
    this.#disk.faults = {
      sync: (path) => {
        if (path.endsWith("spare.tmp")) return "done";
        this.#disk.faults = {};
        this.counts.failedSyncs += 1;
        return "failed";
      },
    };
  }

  /** Kill or power cut, then recovery, which may itself be cut. */
  async #crash(): Promise<void> {
    this.#disk.faults = {};
    const steps = this.#steps;
    const durable = steps.findLastIndex(({ record }) => record <= this.#durableRecord);
    const isKill = this.#random.chance(0.3);
    this.#syncs = [];
    this.#isAutomatic = true;
    let possible = steps.slice(Math.max(0, durable)).map(({ state }) => state);
    if (isKill) {
      this.#disk.killProcess();
      this.counts.kills += 1;
      possible = possible.slice(-1);
    } else {
      this.#cut();
    }
    while (this.#random.chance(0.4)) {
      const halted = this.#disk.haltAfter(1 + this.#random.below(30));
      const opened = this.#openLog().then((log) => log);
      const first = await Promise.race([opened.catch((cause: unknown) => cause), halted]);
      if (first instanceof CorruptionError) throw first;
      if (first !== undefined && !(first instanceof Error)) {
        // It was done before the limit: what it showed must stay.
        possible = [this.#stateOf(await opened, possible)];
      }
      // What a recovery saw in the page cache is not durable before it ends.
      if (isKill && first === undefined)
        possible = steps.slice(Math.max(0, durable)).map((s) => s.state);
      this.#cut();
      this.counts.recoveriesCut += 1;
    }
    await this.#open(possible);
  }

  #cut(): void {
    this.#disk.cutPower(this.#random.chance(0.2) ? this.#unfair() : undefined);
    this.counts.cuts += 1;
  }

  /** The later records reach the disk, the earlier ones do not. */
  #unfair(): () => SectorFate {
    const lost = this.#random.below(6);
    let asked = 0;
    return () => {
      asked += 1;
      return asked <= lost ? "zeroed" : "kept";
    };
  }

  #openLog(): Promise<SegmentLog> {
    return openLog(this.#disk, {
      segmentSizeBytes: this.#segmentSizeBytes,
      cacheBytes: 1_000,
      seed: this.#random.u32(),
    });
  }

  async #open(possible: readonly LogState[]): Promise<void> {
    const log = await this.#openLog();
    const state = this.#stateOf(log, possible);
    this.counts.lostRecords += possible.length - 1 - possible.indexOf(state);
    if ((await log.recover()).tornBytes > 0) this.counts.tornTails += 1;
    this.#log = log;
    this.#hasFailed = false;
    this.#durableRecord = log.syncedThrough;
    this.#steps = [{ state, record: log.syncedThrough }];
    this.#term = Math.max(this.#term, state.hardState.term);
    this.#isAutomatic = false;
    log.listen({
      synced: (through) => {
        if (this.#log === log) this.#durableRecord = through;
      },
      failed: () => {
        if (this.#log === log) this.#hasFailed = true;
      },
    });
  }

  /** The latest possible state that equals the log; throws when there is none. */
  #stateOf(log: SegmentLog, possible: readonly LogState[]): LogState {
    const found = possible.findLast((state) => isState(log, state));
    if (found !== undefined) return found;
    const shown = possible.map(describeState).join("\n");
    throw new Error(`the log is ${describeLog(log)}, but one of these was expected:\n${shown}`);
  }

  #opened(): SegmentLog {
    if (this.#log === undefined) throw new Error("the log was opened");
    return this.#log;
  }

  #last(): Step {
    return this.#steps.at(-1)!;
  }
}

function isState(log: SegmentLog, { hardState, base, entries }: LogState): boolean {
  const { term, vote } = log.hardState;
  if (term !== hardState.term || vote !== hardState.vote) return false;
  if (log.base.index !== base.index || log.base.term !== base.term) return false;
  if (log.sequenceAfter(base.index) !== base.nextSequence) return false;
  if (log.lastIndex() !== base.index + entries.length) return false;
  return entries.every((entry) => {
    const [read] = log.readFromDisk(entry.index, 1);
    return read !== undefined && Buffer.compare(read.bytes, entry.bytes) === 0;
  });
}

function describeLog(log: SegmentLog): string {
  const entries: Entry[] = [];
  for (let index = log.firstIndex(); index <= log.lastIndex(); index += 1) {
    entries.push(...log.readFromDisk(index, 1));
  }
  return describeState({ hardState: log.hardState, base: log.base, entries });
}

function describeState({ hardState, base, entries }: LogState): string {
  const ids = entries.map(({ term, index }) => `${term}:${index}`).join(" ");
  return `term ${hardState.term} vote ${hardState.vote} base ${base.index} entries [${ids}]`;
}
