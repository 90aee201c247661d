/**
 * What a survey finds in a damaged log: its runs, the damage between them, and the facts that the
 * readable records show about the lost ones.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { type LogSurvey, surveyLog } from "../../../src/storage/repair/log_survey.ts";
import { hardStateRecord, headRecord, tailRecord } from "../../../src/storage/wal/log_rebuild.ts";
import { writeRecord } from "../../../src/storage/wal/segment_record.ts";
import { MarkFile } from "../../../src/storage/wal/wal_open.ts";
import type { SimulatedDisk } from "../fake_disk.ts";
import { diskOf, IDENTITY, LOG_FOLDER } from "../log_fixture.ts";
import {
  batchRecord as batch,
  membersRecord,
  NOTE,
  SALT,
  type SegmentShape,
  type WrittenSegment,
  writeSegment,
} from "../segment_fixture.ts";

const EMPTY: Shown = {
  ...{ runs: [], damages: [], isEndLost: false, lastRecord: 0, lastSegmentNumber: 0 },
  ...{ lastIndexTold: 0, nextSequenceTold: 1, commitIndex: 0, termTold: 0, voters: [] },
  ...{ voteTold: undefined, hasVoted: false },
};
const BAD_BODY = "the record body's checksum does not match";
const BAD_HEADER = "the record header's checksum does not match";

interface Shown extends Omit<LogSurvey, "runs"> {
  /** Records, whether the hard state is known, base and last index of each run. */
  readonly runs: readonly string[];
}

function survey(disk: SimulatedDisk): Shown {
  const found = surveyLog(disk.files, { directory: LOG_FOLDER, identity: IDENTITY });
  expect(disk.openFiles).toEqual([]);
  const runs = found.runs.map(({ firstRecord, lastRecord, hasHardState, rebuild: { table } }) => {
    const vote = hasHardState ? " with vote" : "";
    const entries = `entries ${table.base.index}-${table.lastIndex()}`;
    return `records ${firstRecord}-${lastRecord}${vote}, ${entries}`;
  });
  return { ...found, runs };
}

function logOf(...shapes: readonly SegmentShape[]): {
  readonly disk: SimulatedDisk;
  readonly segments: readonly WrittenSegment[];
} {
  const disk = diskOf(1);
  disk.makeFolder(LOG_FOLDER);
  let chain = 0n;
  const segments = shapes.map((shape) => {
    const written = writeSegment(disk, { chain, ...shape });
    ({ chain } = written);
    return written;
  });
  return { disk, segments };
}

/** Writes the durable watermark. */
function markOn(disk: SimulatedDisk, record: number): void {
  const mark = new MarkFile(disk.files, LOG_FOLDER);
  mark.write(record);
  mark.close();
}

/** Records 1 to 6 in two segments: a vote and entries 1 to 5. */
function twoSegments(second: Partial<SegmentShape> = {}) {
  return logOf(
    {
      number: 1,
      first: 1,
      records: [hardStateRecord({ term: 2, vote: "n2" }), batch(1), batch(2)],
    },
    {
      ...{ number: 2, first: 4, records: [batch(3), batch(4), batch(5, 2)] },
      ...{ lastIndex: 2, commitIndex: 3 },
      ...second,
    },
  );
}

const WHOLE: Shown = {
  ...EMPTY,
  runs: ["records 1-6 with vote, entries 0-5"],
  ...{ lastRecord: 6, lastSegmentNumber: 2, lastIndexTold: 5, nextSequenceTold: 11 },
  ...{ commitIndex: 3, termTold: 2, voteTold: "n2", hasVoted: true },
};

describe("a log without damage", () => {
  test("that is empty, or holds other files only", () => {
    const { disk } = logOf();
    expect(survey(disk)).toEqual(EMPTY);
    disk.writeFile(`${LOG_FOLDER}/note`, new Uint8Array(5));
    expect(survey(disk)).toEqual(EMPTY);
  });

  test("is one run over all its segments", () => {
    expect(survey(twoSegments().disk)).toEqual(WHOLE);
    expect(survey(twoSegments({ size: 4096 }).disk)).toEqual(WHOLE);
  });

  test("that ends in an unsynced tail loses it without damage", () => {
    const { disk, segments } = twoSegments();
    disk.rot(segments[1]!.path, segments[1]!.places[2]! + 64 + 100);
    // Header and batch of the last record are still readable, but it is no part of the log.
    expect(survey(disk)).toEqual({
      ...WHOLE,
      runs: ["records 1-5 with vote, entries 0-4"],
      ...{ lastRecord: 5, lastSegmentNumber: 2, lastIndexTold: 4, nextSequenceTold: 9 },
    });
  });

  test("whose first segment ends early and unsynced ends there, whatever follows", () => {
    const { disk, segments } = twoSegments({ synced: 2 });
    const third = { number: 3, first: 7, records: [batch(6, 2)], lastIndex: 5, synced: 2 };
    writeSegment(disk, { ...third, chain: segments[1]!.chain });
    disk.rot(segments[0]!.path, segments[0]!.places[2]! + 9);
    expect(survey(disk)).toMatchObject({
      runs: ["records 1-2 with vote, entries 0-1"],
      damages: [],
      ...{ isEndLost: false, lastIndexTold: 2, commitIndex: 0, lastSegmentNumber: 1 },
    });
  });

  test("of which a record in the middle was never synced ends before that", () => {
    const records = [batch(1), batch(2), batch(3)];
    const { disk, segments } = logOf({ number: 1, first: 1, records, synced: 0 });
    for (const offset of [9, 64]) {
      const copy = disk.clone();
      copy.rot(segments[0]!.path, segments[0]!.places[1]! + offset);
      expect(survey(copy)).toMatchObject({
        runs: ["records 1-1, entries 0-1"],
        damages: [],
        ...{ isEndLost: false, lastIndexTold: 1, lastRecord: 1 },
      });
    }
  });

  test("whose second segment was never synced ends with the first", () => {
    const { disk, segments } = twoSegments({ synced: 3 });
    disk.rot(segments[1]!.path, 20);
    expect(survey(disk)).toMatchObject({
      runs: ["records 1-3 with vote, entries 0-2"],
      damages: [],
      isEndLost: false,
    });
  });
});

describe("hard states and members", () => {
  test("the vote of the highest term counts, and terms of entries do, too", () => {
    const records = [
      hardStateRecord({ term: 3, vote: "n3" }),
      hardStateRecord({ term: 4, vote: undefined }),
    ];
    expect(survey(logOf({ number: 1, first: 1, records }).disk)).toMatchObject({
      ...{ termTold: 4, voteTold: undefined, hasVoted: true },
    });
    const entries = [batch(1, 5), hardStateRecord({ term: 4, vote: "n2" })];
    expect(survey(logOf({ number: 1, first: 1, records: entries }).disk)).toMatchObject({
      ...{ termTold: 5, voteTold: undefined, hasVoted: true },
    });
    const same = [batch(1, 4), hardStateRecord({ term: 4, vote: "n2" })];
    expect(survey(logOf({ number: 1, first: 1, records: same }).disk).voteTold).toBe("n2");
    const none = survey(logOf({ number: 1, first: 1, records: [batch(1)] }).disk);
    expect([none.hasVoted, none.runs]).toEqual([false, ["records 1-1, entries 0-1"]]);
  });

  test("voters are those members that may vote", () => {
    const roles = { a: "voter", b: "learner", c: "standby", d: "voter" } as const;
    const records = [
      membersRecord(roles, { index: 1, term: 1, firstSequence: 1 }),
      batch(2, 1, 2),
      membersRecord({ d: "voter" }, { index: 3, term: 1, firstSequence: 4 }),
    ];
    expect(survey(logOf({ number: 1, first: 1, records }).disk).voters).toEqual([
      { index: 1, voters: ["a", "d"] },
      { index: 3, voters: ["d"] },
    ]);
  });
});

describe("a bad body", () => {
  test("of a batch ends the run; its own header is still known", () => {
    const { disk, segments } = twoSegments();
    const { path, places } = segments[1]!;
    disk.rot(path, places[0]! + 64 + 100);
    expect(survey(disk)).toEqual({
      ...WHOLE,
      runs: ["records 1-3 with vote, entries 0-2", "records 5-6, entries 3-5"],
      damages: [{ file: path, byte: places[0]!, problem: BAD_BODY, record: 4 }],
    });
  });

  test("of the last synced batch: its index is known unless its header is bad, too", () => {
    for (const [offset, lastIndexTold] of [
      [64 + 100, 5],
      [64, 4],
    ] as const) {
      const { disk, segments } = twoSegments();
      markOn(disk, 6);
      const { path, places } = segments[1]!;
      disk.rot(path, places[2]! + offset);
      expect(survey(disk)).toEqual({
        ...WHOLE,
        runs: ["records 1-5 with vote, entries 0-4"],
        damages: [{ file: path, byte: places[2]!, problem: BAD_BODY, record: 6 }],
        isEndLost: true,
        ...{ lastIndexTold, nextSequenceTold: lastIndexTold * 2 + 1 },
      });
    }
  });

  test("of another kind loses no entry; a hard state is unknown until the next one", () => {
    const records = [hardStateRecord({ term: 2, vote: "n2" }), batch(1), NOTE, batch(2)];
    const { disk, segments } = logOf({ number: 1, first: 1, records });
    const { path, places } = segments[0]!;
    const note = disk.clone();
    note.rot(path, places[2]! + 64);
    expect(survey(note)).toMatchObject({
      runs: ["records 1-4 with vote, entries 0-2"],
      damages: [{ byte: places[2]!, problem: `${BAD_BODY} (CHECKPOINT, no entry)`, record: 3 }],
      isEndLost: false,
    });
    const vote = hardStateRecord({ term: 3, vote: "n1" });
    const votes = logOf({ number: 1, first: 1, records: [...records.slice(0, 2), vote, NOTE] });
    votes.disk.rot(path, votes.segments[0]!.places[2]! + 64);
    expect(survey(votes.disk)).toMatchObject({
      runs: ["records 1-4, entries 0-1"],
      damages: [{ problem: `${BAD_BODY} (HARD_STATE, no entry)`, record: 3 }],
      ...{ termTold: 2, voteTold: "n2" },
    });
    // As the last record of a run it still counts as one of its records.
    const last = logOf({ number: 1, first: 1, records: [batch(1), NOTE] });
    markOn(last.disk, 2);
    last.disk.rot(path, last.segments[0]!.places[1]! + 64);
    expect(survey(last.disk)).toMatchObject({
      ...{ runs: ["records 1-2, entries 0-1"], isEndLost: false, lastRecord: 2 },
    });
    // The first record of all: there is no run yet.
    const first = disk.clone();
    first.rot(path, places[0]! + 64);
    expect(survey(first)).toMatchObject({
      runs: ["records 2-4, entries 0-2"],
      damages: [{ problem: `${BAD_BODY} (HARD_STATE, no entry)`, record: 1 }],
    });
  });

  test("of a tail ends the run: entries may be gone", () => {
    const { disk, segments } = logOf({
      ...{ number: 1, first: 1, records: [batch(1), tailRecord(1), batch(1), NOTE] },
    });
    disk.rot(segments[0]!.path, segments[0]!.places[1]! + 64);
    expect(survey(disk)).toMatchObject({
      runs: ["records 1-1, entries 0-1", "records 3-4, entries 0-1"],
      damages: [{ problem: BAD_BODY, record: 2 }],
    });
  });
});

describe("a bad header", () => {
  test("in the middle: the records behind it are a run of their own", () => {
    const { disk, segments } = twoSegments();
    const { path, places } = segments[1]!;
    disk.rot(path, places[1]! + 9);
    expect(survey(disk)).toEqual({
      ...WHOLE,
      runs: ["records 1-4 with vote, entries 0-3", "records 6-6, entries 4-5"],
      damages: [{ file: path, byte: places[1]!, problem: BAD_HEADER, record: 5 }],
    });
  });

  test("of the last synced record: the end is lost", () => {
    const { disk, segments } = twoSegments();
    markOn(disk, 8);
    const { path, places } = segments[1]!;
    disk.rot(path, places[2]! + 9);
    expect(survey(disk)).toEqual({
      ...WHOLE,
      runs: ["records 1-5 with vote, entries 0-4"],
      damages: [{ file: path, byte: places[2]!, problem: BAD_HEADER, record: 6 }],
      ...{ isEndLost: true, lastRecord: 8, lastIndexTold: 4, nextSequenceTold: 9 },
    });
  });

  test.each([7, 8])("no record is bad, but record %i was synced: the end is lost", (mark) => {
    const { disk, segments } = twoSegments();
    markOn(disk, mark);
    // The records were found with the first copy of the salt; the second one finds none.
    disk.rot(segments[1]!.path, 120);
    const { path, places } = segments[1]!;
    expect(survey(disk)).toMatchObject({
      damages: [
        { file: path, byte: 0, record: 4 },
        { file: path, byte: places[3]!, problem: BAD_HEADER, record: 7 },
      ],
      ...{ isEndLost: true, lastRecord: mark },
    });
  });

  // Number and chain show that the garbage between two records took no record's place.
  test("that was no record's: the run goes on behind it", () => {
    const { disk, segments } = logOf({ number: 1, first: 1, records: [batch(1), NOTE, batch(2)] });
    const { path, places } = segments[0]!;
    const bytes = disk.readFile(path);
    const shifted = new Uint8Array(bytes.byteLength + 64);
    shifted.set(bytes.subarray(0, places[1]));
    shifted.fill(7, places[1], places[1]! + 64);
    shifted.set(bytes.subarray(places[1]), places[1]! + 64);
    disk.writeFile(path, shifted);
    expect(survey(disk)).toMatchObject({
      runs: ["records 1-3, entries 0-2"],
      damages: [{ byte: places[1]!, problem: BAD_HEADER, record: 2 }],
      isEndLost: false,
    });
  });
});

describe("a segment", () => {
  test("whose header is bad: its records are read with either copy of the salt", () => {
    for (const at of [20, 40, 120]) {
      const { disk, segments } = twoSegments();
      const { path } = segments[1]!;
      disk.rot(path, at);
      expect(survey(disk)).toEqual({
        ...WHOLE,
        damages: [
          { file: path, byte: 0, problem: "the header's checksum does not match", record: 4 },
        ],
      });
    }
  });

  test("that is the first, with a bad header: it was synced in any case", () => {
    const { disk, segments } = logOf({
      ...{ number: 1, first: 1, records: [batch(1), batch(2)], synced: 0 },
    });
    disk.rot(segments[0]!.path, 20);
    expect(survey(disk)).toMatchObject({
      runs: ["records 1-2, entries 0-2"],
      damages: [{ byte: 0, record: 1 }],
      lastSegmentNumber: 1,
    });
  });

  test("that is the first, with a bad header and a bad first record", () => {
    const records = [batch(1), batch(2), batch(3)];
    const { disk, segments } = logOf({ number: 1, first: 1, records });
    disk.rot(segments[0]!.path, 20);
    disk.rot(segments[0]!.path, segments[0]!.places[0]! + 9);
    expect(survey(disk)).toMatchObject({
      runs: ["records 2-3, entries 1-3"],
      damages: [
        { byte: 0, record: 1 },
        { byte: 512, record: 1, problem: BAD_HEADER },
      ],
    });
  });

  test("of another log is damage, and none of its records is read", () => {
    const identity = { ...IDENTITY, nodeId: "n9" };
    const { disk, segments } = twoSegments({ identity });
    expect(survey(disk)).toMatchObject({
      runs: ["records 1-3 with vote, entries 0-2"],
      damages: [
        {
          ...{ file: segments[1]!.path, byte: 0, record: 4 },
          problem: "it belongs to another cluster, node or data directory",
        },
      ],
      ...{ isEndLost: true, lastIndexTold: 2, lastSegmentNumber: 1 },
    });
  });

  test("that is missing in the middle", () => {
    const { disk, segments } = logOf(
      { number: 1, first: 1, records: [batch(1)] },
      { number: 2, first: 2, records: [batch(2)] },
      { number: 3, first: 3, records: [batch(3)], lastIndex: 2 },
    );
    disk.deleteFile(segments[1]!.path);
    const [{ path, places }] = segments as readonly [WrittenSegment];
    expect(survey(disk)).toMatchObject({
      runs: ["records 1-1, entries 0-1", "records 3-3, entries 2-3"],
      damages: [
        { file: path, byte: places[1]!, problem: "segment 2 is missing behind it", record: 2 },
      ],
      isEndLost: false,
    });
  });

  test("that does not follow the one before it, which ends early or in another chain", () => {
    const early = logOf(
      { number: 1, first: 1, records: [batch(1)] },
      { number: 2, first: 3, records: [batch(3)] },
    );
    const { path, places } = early.segments[0]!;
    const place = { file: path, byte: places[1]!, record: 2 };
    expect(survey(early.disk)).toMatchObject({
      runs: ["records 1-1, entries 0-1", "records 3-3, entries 2-3"],
      damages: [{ ...place, problem: BAD_HEADER }],
    });
    const other = logOf(
      { number: 1, first: 1, records: [batch(1)] },
      { number: 2, first: 2, records: [batch(2), NOTE], chain: 5n },
    );
    expect(survey(other.disk)).toMatchObject({
      runs: ["records 1-1, entries 0-1", "records 2-3, entries 1-2"],
      damages: [{ ...place, problem: BAD_HEADER }],
    });
    // Unsynced it is no damage: the log ends before it.
    const unsynced = logOf(
      { number: 1, first: 1, records: [batch(1)] },
      { number: 2, first: 2, records: [batch(2)], chain: 5n },
    );
    expect(survey(unsynced.disk)).toMatchObject({
      runs: ["records 1-1, entries 0-1"],
      damages: [],
    });
  });

  test("is named by the directory when all are missing, though records were synced", () => {
    const { disk } = logOf();
    markOn(disk, 3);
    expect(survey(disk)).toEqual({
      ...EMPTY,
      damages: [{ file: LOG_FOLDER, byte: 0, problem: "no segment is there", record: 1 }],
      ...{ isEndLost: true, lastRecord: 3 },
    });
  });
});

describe("entries that are in no file", () => {
  test("before the oldest segment, as its header or its first batch tells", () => {
    const header = logOf({ number: 2, first: 5, records: [NOTE], lastIndex: 4 });
    const { path, places } = header.segments[0]!;
    expect(survey(header.disk)).toMatchObject({
      damages: [{ file: path, byte: 0, problem: "entries 1 to 4 are in no file", record: 5 }],
      lastIndexTold: 4,
    });
    const first = logOf({ number: 2, first: 5, records: [batch(3)], lastIndex: 2 });
    expect(survey(first.disk)).toMatchObject({
      damages: [
        { file: path, byte: places[0]!, problem: "entries from 1 on are in no file", record: 5 },
      ],
    });
    const head = headRecord({ index: 2, term: 1, nextSequence: 5 });
    const allowed = logOf({ number: 2, first: 5, records: [head, batch(3)], lastIndex: 2 });
    expect(survey(allowed.disk)).toMatchObject({
      runs: ["records 5-6, entries 2-3"],
      damages: [],
    });
  });

  test("are not looked for when there is other damage", () => {
    const { disk, segments } = logOf({ number: 2, first: 5, records: [batch(3), NOTE, batch(4)] });
    disk.rot(segments[0]!.path, segments[0]!.places[1]! + 64);
    expect(survey(disk).damages).toHaveLength(1);
  });
});

test("a record of another history at the right place is no part of the run before it", () => {
  const { disk, segments } = logOf({ number: 1, first: 1, records: [batch(1)], size: 2048 });
  markOn(disk, 2);
  const [{ path, places }] = segments as readonly [WrittenSegment];
  const bytes = disk.readFile(path);
  const place = { kind: "BATCH", number: 2, previousChain: 1n, syncedThrough: 1 } as const;
  const { body } = batch(2, 2);
  writeRecord(bytes, places[1]!, { fields: { ...place, commitIndex: 0 }, body, salt: SALT });
  disk.writeFile(path, bytes);
  expect(survey(disk)).toMatchObject({
    runs: ["records 1-1, entries 0-1", "records 2-2, entries 1-2"],
    damages: [{ byte: places[1]!, problem: "the chain to the record before is broken", record: 2 }],
  });
});

test("a batch that is none, as the first record: a run without records", () => {
  const records = [{ kind: "BATCH", body: new Uint8Array(10) } as const, batch(1)];
  const { disk } = logOf({ number: 1, first: 1, records });
  expect(survey(disk)).toMatchObject({
    runs: ["records 1-0, entries 0-0", "records 2-2, entries 0-1"],
    damages: [{ byte: 512, record: 1, problem: expect.stringContaining("Cannot read batch") }],
  });
});

test("a record that does not fit the log is damage, whatever its checksums say", () => {
  const records = [headRecord({ index: 2, term: 1, nextSequence: 5 }), batch(3, 1, 99), batch(4)];
  const { disk, segments } = logOf({ number: 1, first: 1, records });
  expect(survey(disk)).toMatchObject({
    runs: ["records 1-1, entries 2-2", "records 3-3, entries 3-4"],
    damages: [
      {
        ...{ file: segments[0]!.path, byte: segments[0]!.places[1]!, record: 2 },
        problem: expect.stringContaining("entry 3 does not follow entry 2"),
      },
    ],
    ...{ lastIndexTold: 4, nextSequenceTold: 9 },
  });
  // Its checksums tell that it was written like that, so it is no unsynced tail.
  const unsynced = logOf({ number: 1, first: 1, records: records.slice(0, 2), synced: 0 });
  expect(survey(unsynced.disk).damages).toHaveLength(1);
});
