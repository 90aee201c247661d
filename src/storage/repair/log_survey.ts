/**
 * Reads a damaged log past its damage, for the repair: the runs of records that are whole, the
 * damage between them, and the facts about lost records that the readable ones show. Changes and
 * decides nothing.
 *
 * A run is a chain of records without a break in which an entry may be missing. Each run gives a
 * table of the log by itself; the repair keeps one of them.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { CStoreError, ProtocolError } from "../../base/errors.ts";
import type { FileSystem, OpenFile } from "../../platform/file_system.ts";
import { type BatchHeader, decodeBatchHeader } from "../../protocol/encoding/batch_codec.ts";
import { membersIn } from "../../protocol/encoding/cluster_command.ts";
import type { HardState, LogIndex, Term } from "../../raft/types.ts";
import type { LogIdentity } from "../identity.ts";
import { LogRebuild } from "../wal/log_rebuild.ts";
import { LogTable } from "../wal/log_table.ts";
import type { NextRecord } from "../wal/recovery_verdict.ts";
import {
  decodeSegmentHeader,
  SEGMENT_DATA_START,
  SEGMENT_HEADER_SIZE,
  type SegmentHeader,
  segmentNumberOf,
} from "../wal/segment.ts";
import { readMark } from "../wal/wal_open.ts";
import { type WalkStep, walkSegment } from "./segment_walk.ts";

/** A place that does not verify. */
export interface LogDamage {
  readonly file: string;
  readonly byte: number;
  readonly problem: string;
  /** Number of the first record that is lost there; an estimate where its header is lost, too. */
  readonly record: number;
}

/** The voters since an entry. */
export interface KnownVoters {
  /** `1 <= index <= lastIndexTold` of the survey. */
  readonly index: LogIndex;
  readonly voters: readonly string[];
}

/** Records without a break. */
export interface LogRun {
  readonly rebuild: LogRebuild;
  /** `last record of the run before < firstRecord <= lastRecord + 1`. */
  readonly firstRecord: number;
  /** `firstRecord - 1 <= lastRecord`; smaller than `firstRecord` when its first one is refused. */
  readonly lastRecord: number;
  /** Whether the run shows the hard state at its end. */
  readonly hasHardState: boolean;
}

/** The content of a log's files. */
export interface LogSurvey {
  readonly runs: readonly LogRun[];
  readonly damages: readonly LogDamage[];
  /** Whether records at the end are lost, so that the last one is unknown. */
  readonly isEndLost: boolean;
  /** Highest number of any known record: `watermark <= lastRecord`. */
  readonly lastRecord: number;
  readonly lastSegmentNumber: number;
  /**
   * Highest entry that any readable byte names: `index of each readable batch <= lastIndexTold`.
   */
  readonly lastIndexTold: LogIndex;
  /** Sequence number behind all operations of readable batches. */
  readonly nextSequenceTold: number;
  /** Highest commit index of the readable records. */
  readonly commitIndex: LogIndex;
  /** Highest term of any readable record. */
  readonly termTold: Term;
  readonly voters: readonly KnownVoters[];
  readonly voteTold: string | undefined;
  /** Whether consensus has written a term and a vote. */
  readonly hasVoted: boolean;
}

/** The directory and the owner of a log. */
export interface SurveyedLog {
  readonly directory: string;
  readonly identity: LogIdentity;
}

interface SegmentPlace {
  readonly path: string;
  readonly segmentNumber: number;
  readonly file: OpenFile;
  readonly header: ReturnType<typeof decodeSegmentHeader>;
}

/** Reads all segments, twice: the watermark decides which of the bad places are damage. */
export function surveyLog(files: FileSystem, log: SurveyedLog): LogSurvey {
  const marks: number[] = [readMark(files, log.directory)];
  eachSegment(files, log, (place) => {
    for (const salt of saltsOf(place.header)) {
      const walk = walkSegment(place.file, { salt, first: undefined });
      let step = walk.next();
      while (step.done !== true) step = walk.next();
      marks.push(step.value.syncedThrough);
    }
  });
  const watermark = Math.max(...marks);
  const surveyor = new Surveyor(watermark);
  eachSegment(files, log, (place) => surveyor.segment(place));
  const survey = surveyor.end(log.directory);
  assert(survey.lastRecord >= watermark, "a synced record is known");
  return survey;
}

function eachSegment(
  files: FileSystem,
  log: SurveyedLog,
  visit: (place: SegmentPlace) => void,
): void {
  let before = -1;
  for (const name of files.list(log.directory)) {
    const segmentNumber = segmentNumberOf(name);
    if (segmentNumber === undefined) continue;
    assert(segmentNumber > before, "names are listed in order of segments");
    before = segmentNumber;
    const path = `${log.directory}/${name}`;
    const file = files.open(path, "read");
    try {
      const bytes = new Uint8Array(SEGMENT_HEADER_SIZE);
      const size = file.read(0, bytes);
      assert(size <= bytes.byteLength, "a read does not leave its target");
      const header = decodeSegmentHeader(bytes.subarray(0, size), log.identity);
      visit({ path, segmentNumber, file, header });
    } finally {
      file.close();
    }
  }
}

/** The salts of the records behind a header; none if it is whole and belongs to another log. */
function saltsOf(header: SegmentPlace["header"]): readonly bigint[] {
  if (!("refusal" in header)) return [header.salt];
  return header.isWhole ? [] : [...new Set(header.salts)];
}

class RunBuilder implements LogRun {
  readonly rebuild = new LogRebuild(new LogTable(0));
  readonly firstRecord: number;
  lastRecord: number;
  hasHardState = false;

  constructor(firstRecord: number) {
    this.firstRecord = firstRecord;
    this.lastRecord = firstRecord - 1;
  }

  /** Counts a record of the run: `lastRecord < number`. */
  extend(number: number): void {
    assert(number >= this.firstRecord, "a run does not go back behind its first record");
    assert(number > this.lastRecord, "record numbers rise in a run");
    this.lastRecord = number;
  }
}

type RecordStep = Exclude<WalkStep, { kind: "read" | "unreadable" }>;
type BadBody = Extract<WalkStep, { kind: "bad body" }>;

class Surveyor {
  readonly #watermark: number;
  readonly #runs: RunBuilder[] = [];
  readonly #damages: LogDamage[] = [];
  readonly #voters: KnownVoters[] = [];
  #run: RunBuilder | undefined;
  /** The run before a bad place, as long as a later record may show that it continues there. */
  #halted: RunBuilder | undefined;
  /** The record that must come next; undefined before the first file. */
  #next: NextRecord | undefined;
  /** Where the last walk ended; `segmentNumber < that of the next file`. */
  #end = { path: "", at: 0, problem: "", segmentNumber: 0 };
  #isOver = false;
  /** Whether damage was found, and no record behind it yet. */
  #isInHole = false;
  #oldest: { readonly path: string; readonly lastIndex: LogIndex } | undefined;
  #lastIndexTold = 0;
  #nextSequenceTold = 1;
  #commitIndex = 0;
  #termTold = 0;
  #voteTold: string | undefined;
  #hasVoted = false;

  constructor(watermark: number) {
    this.#watermark = watermark;
  }

  segment(place: SegmentPlace): void {
    if (this.#isOver) return;
    const { header, path, segmentNumber } = place;
    if ("refusal" in header) this.#refused(place, header);
    else this.#follow(place, header);
    if (this.#isOver) return;
    for (const salt of saltsOf(header)) {
      const first = "refusal" in header ? undefined : this.#next;
      const walk = walkSegment(place.file, { salt, first });
      let isFound = false;
      let step = walk.next();
      while (step.done !== true && !this.#isOver) {
        isFound ||= step.value.kind === "record";
        this.#take(step.value, place);
        step = walk.next();
      }
      if (step.done === true) {
        const { at, problem } = step.value;
        assert(segmentNumber >= this.#end.segmentNumber, "segments are read in order");
        assert(at >= SEGMENT_DATA_START, "a walk ends behind the segment's header");
        this.#end = { path, at, problem, segmentNumber };
      }
      if (isFound) return;
    }
  }

  end(directory: string): LogSurvey {
    const number = this.#next?.number ?? 1;
    const isCutOff = !this.#isOver && number <= this.#watermark;
    if (isCutOff) {
      const { path, at, problem } = this.#end;
      const file = path === "" ? directory : path;
      this.#damages.push({
        file,
        byte: at,
        problem: problem || "no segment is there",
        record: number,
      });
    }
    this.#findMissing();
    return {
      runs: this.#runs,
      damages: this.#damages,
      isEndLost: isCutOff || this.#isInHole,
      lastRecord: Math.max(this.#watermark, number - 1),
      lastSegmentNumber: this.#end.segmentNumber,
      lastIndexTold: this.#lastIndexTold,
      nextSequenceTold: this.#nextSequenceTold,
      commitIndex: this.#commitIndex,
      termTold: this.#termTold,
      voters: this.#voters,
      voteTold: this.#voteTold,
      hasVoted: this.#hasVoted,
    };
  }

  /** Notes missing older files: their only trace may be entries that are in no file. */
  #findMissing(): void {
    const [run] = this.#runs;
    const { path, lastIndex } = this.#oldest ?? { path: "", lastIndex: 0 };
    if (run === undefined || this.#damages.length > 0) return;
    const problem = run.rebuild.problem(lastIndex);
    if (problem === undefined) return;
    const place = problem.record ?? { path, at: 0 };
    const { path: file, at: byte } = place;
    assert(run.firstRecord <= run.lastRecord + 1, "a run does not end before it begins");
    this.#damages.push({ file, byte, problem: problem.text, record: run.firstRecord });
  }

  /** Notes a header that does not verify; its records may verify all the same. */
  #refused(place: SegmentPlace, header: { readonly refusal: string; readonly isWhole: boolean }) {
    const record = this.#next?.number ?? 1;
    // The oldest header was synced before anything was written behind it.
    const isSynced = header.isWhole || this.#next === undefined;
    this.#break({ file: place.path, byte: 0, problem: header.refusal, record }, isSynced);
  }

  #follow(place: SegmentPlace, header: SegmentHeader): void {
    const { firstRecord: number, previousChain: chain, lastIndex } = header;
    this.#lastIndexTold = Math.max(this.#lastIndexTold, lastIndex);
    this.#oldest ??= { path: place.path, lastIndex };
    const expected = this.#next;
    const follows = expected?.number === number && expected.chain === chain;
    if (expected !== undefined && !follows) {
      const { path, at, problem, segmentNumber } = this.#end;
      const missing = `segment ${segmentNumber + 1} is missing behind it`;
      const isMissing = place.segmentNumber > segmentNumber + 1;
      const why = isMissing ? missing : problem || "the segment behind it does not follow";
      const file = path === "" ? place.path : path;
      this.#break({ file, byte: at, problem: why, record: expected.number }, false);
      this.#halted = undefined;
    }
    this.#next = { number, chain };
  }

  #take(step: WalkStep, place: SegmentPlace): void {
    if (step.kind === "read") return;
    assert(step.at >= SEGMENT_DATA_START, "a step lies behind the segment's header");
    if (step.kind === "unreadable") {
      const { at: byte, problem } = step;
      const record = this.#next?.number ?? 1;
      this.#break({ file: place.path, byte, problem, record }, false);
      return;
    }
    if (step.kind === "bad body") this.#takeBad(step, place);
    else this.#takeRecord(step, place);
    if (!this.#isOver) this.#next = { number: step.header.number + 1, chain: step.chain };
  }

  /** Notes a record with a bad body; no entry is lost if its header names another kind. */
  #takeBad(step: BadBody, place: SegmentPlace): void {
    const { kind, number: record } = step.header;
    const damage = { file: place.path, byte: step.at, problem: step.problem, record };
    if (kind === "BATCH" || kind === "TAIL" || record > this.#watermark) {
      this.#break(damage, false);
      this.#halted = undefined;
      if (kind === "BATCH" && !this.#isOver) this.#noteBad(step.body);
      return;
    }
    this.#damages.push({ ...damage, problem: `${step.problem} (${kind}, no entry)` });
    const run = this.#run;
    if (run === undefined) return;
    run.extend(record);
    if (kind === "HARD_STATE") run.hasHardState = false;
  }

  #takeRecord(step: RecordStep, place: SegmentPlace): void {
    const { number, chain } = this.#next ?? { number: 0, chain: 0n };
    // Number and chain show that no record is missing between.
    if (step.header.number !== number || step.header.previousChain !== chain) {
      this.#halted = undefined;
    }
    const { header, at, body } = step;
    const run = this.#run ?? this.#halted ?? new RunBuilder(header.number);
    assert(header.number > run.lastRecord, "record numbers rise in a run");
    if (run !== this.#runs.at(-1)) this.#runs.push(run);
    this.#run = run;
    this.#isInHole = false;
    const { path, segmentNumber } = place;
    try {
      run.rebuild.take({ header, at, body, segmentNumber, path });
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      const damage = { file: path, byte: at, problem: error.message, record: header.number };
      this.#break(damage, true);
      this.#halted = undefined;
      return;
    }
    run.extend(header.number);
    this.#commitIndex = Math.max(this.#commitIndex, header.commitIndex);
    if (header.kind === "BATCH") this.#noteBatch(body);
    if (header.kind !== "HARD_STATE") return;
    run.hasHardState = true;
    this.#hasVoted = true;
    const { term, vote } = run.rebuild.hardState;
    this.#noteHardState({ term, vote });
  }

  /** Notes the header of a bad batch: it has a checksum of its own. */
  #noteBad(body: Uint8Array): void {
    try {
      this.#noteHeader(decodeBatchHeader(body));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
    }
  }

  #noteHeader({ term, index, firstSequence, count }: BatchHeader): void {
    this.#lastIndexTold = Math.max(this.#lastIndexTold, index);
    this.#nextSequenceTold = Math.max(this.#nextSequenceTold, firstSequence + count);
    this.#termTold = Math.max(this.#termTold, term);
  }

  #noteBatch(body: Uint8Array): void {
    const header = decodeBatchHeader(body);
    const { index, count } = header;
    this.#noteHeader(header);
    assert(index <= this.#lastIndexTold, "a readable batch is known");
    const members = membersIn(body, count);
    if (members === undefined) return;
    const voters = members.filter(({ role }) => role !== "learner" && role !== "standby");
    assert(voters.length <= members.length, "a voter is a member");
    this.#voters.push({ index, voters: voters.map(({ id }) => id) });
  }

  #noteHardState({ term, vote }: HardState): void {
    if (term < this.#termTold) return;
    this.#termTold = term;
    this.#voteTold = vote;
  }

  /** Ends the run. Behind the synced records it also ends the log, as at every start. */
  #break(damage: LogDamage, isSynced: boolean): void {
    this.#halted = this.#run ?? this.#halted;
    this.#run = undefined;
    this.#isOver = !isSynced && damage.record > this.#watermark;
    if (this.#isOver) return;
    assert(isSynced || damage.record <= this.#watermark, "an unsynced tail is no damage");
    this.#isInHole = true;
    this.#damages.push(damage);
  }
}
