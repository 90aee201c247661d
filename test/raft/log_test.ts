/**
 * The log as consensus sees it: the written part, the tail, and how far both are durable.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { RaftLog } from "../../src/raft/log.ts";
import { type Entry, NO_ENTRY } from "../../src/raft/types.ts";
import { entriesOf, entryAt, MemoryLog, source } from "./cluster.ts";

interface LogUnderTest {
  readonly log: RaftLog;
  readonly disk: MemoryLog;
  /** Writes the tail under that number, as the driver does. */
  write(number: number): ReturnType<RaftLog["takeTail"]>;
}

/** A log that finds entries of these terms; `cut` of them are gone from its head. */
function logOf(terms: readonly number[], { commit = 0, cut = 0 } = {}): LogUnderTest {
  const disk = new MemoryLog(entriesOf(...terms));
  disk.compact(cut);
  const log = new RaftLog(disk, Math.max(commit, cut));
  const write = (number: number) => {
    const taken = log.takeTail();
    if (taken.restored !== undefined) disk.restartBehind(taken.restored);
    disk.write(taken.entries);
    log.persisting(number);
    return taken;
  };
  return { log, disk, write };
}

function viewOf(log: RaftLog) {
  const { firstIndex, lastIndex, durableIndex, committed, hasTail, isDurable } = log;
  return { firstIndex, lastIndex, durableIndex, committed, hasTail, isDurable };
}

function idsOf(entries: readonly Entry[]): readonly string[] {
  return entries.map(({ term, index }) => `${term}:${index}`);
}

describe("start", () => {
  test("an empty log", () => {
    const { log } = logOf([]);
    const empty = { firstIndex: 1, lastIndex: 0, durableIndex: 0, committed: 0 };
    expect(viewOf(log)).toEqual({ ...empty, hasTail: false, isDurable: true });
    expect(log.last).toEqual(NO_ENTRY);
  });

  test("everything that is found is durable", () => {
    const { log } = logOf([1, 1, 2, 3], { commit: 3, cut: 2 });
    const found = { firstIndex: 3, lastIndex: 4, durableIndex: 4, committed: 3 };
    expect(viewOf(log)).toEqual({ ...found, hasTail: false, isDurable: true });
    expect(log.last).toEqual({ term: 3, index: 4 });
  });

  test("a commit index outside of the log is a bug", () => {
    const disk = new MemoryLog(entriesOf(1, 1, 1));
    expect(() => new RaftLog(disk, 4)).toThrow("committed entries were written");
    disk.compact(2);
    expect(() => new RaftLog(disk, 1)).toThrow("entries that were cut are committed");
    expect(new RaftLog(disk, 2).firstIndex).toBe(3);
  });
});

// Found 1 1 2 3 with the first entry cut; 3 and 4 of term 5 are new.
test("term: of the written part, of the tail, of the base, and of nothing else", () => {
  const { log } = logOf([1, 1, 2, 3], { cut: 1 });
  log.appendNew(5, source("a"));
  log.appendNew(6, source("b"));
  const terms = [0, 1, 2, 3, 4, 5, 6, 7, 8].map((index) => log.term(index));
  expect(terms).toEqual([undefined, 1, 1, 2, 3, 5, 6, undefined, undefined]);
  expect(log.matches({ term: 5, index: 5 })).toBe(true);
  expect(log.matches({ term: 6, index: 5 })).toBe(false);
  expect(log.matches({ term: 6, index: 7 })).toBe(false);
});

describe("append of a leader", () => {
  test("sequence numbers go on from the entry before, on disk and in the tail", () => {
    const { log, disk } = logOf([1, 1]);
    const { bytes: _, ...first } = log.appendNew(4, source("a", 5));
    expect(first).toEqual({ term: 4, index: 3, firstSequence: 3, count: 5 });
    const { bytes: __, ...second } = log.appendNew(4, source("b", 1));
    expect(second).toEqual({ term: 4, index: 4, firstSequence: 8, count: 1 });
    const { bytes: ___, ...third } = log.appendNew(4, source("c", 2));
    expect(third).toEqual({ term: 4, index: 5, firstSequence: 9, count: 2 });
    expect(disk.lastIndex()).toBe(2);
    expect(log.lastIndex).toBe(5);
  });

  test("the bytes are sealed for the entry's place", () => {
    const { log } = logOf([1]);
    const places: unknown[] = [];
    const seal = (place: unknown): Uint8Array => {
      places.push(place);
      return new Uint8Array([7]);
    };
    const entry = log.appendNew(3, { count: 2, size: 1, seal });
    expect(places).toEqual([{ term: 3, index: 2, firstSequence: 2 }]);
    expect(entry.bytes).toEqual(new Uint8Array([7]));
  });

  test("a source that gives other bytes than it announced is a bug", () => {
    const { log } = logOf([]);
    const wrong = { count: 1, size: 2, seal: () => new Uint8Array(1) };
    expect(() => log.appendNew(1, wrong)).toThrow("announced size");
  });

  test("behind a snapshot that no Ready has carried, the snapshot gives the number", () => {
    const { log } = logOf([1]);
    log.restore({ term: 2, index: 9, nextSequence: 40 });
    expect(log.appendNew(3, source("a")).firstSequence).toBe(40);
  });
});

describe("append of a follower", () => {
  // Found 1 1 2, the first committed; previous is an entry that is there.
  test.each([
    { previous: 3, terms: [], truncated: 0, fresh: [], ids: "1:1 1:2 2:3" },
    { previous: 3, terms: [3, 3], truncated: 0, fresh: ["3:4", "3:5"], ids: "1:1 1:2 2:3 3:4 3:5" },
    { previous: 1, terms: [1, 2], truncated: 0, fresh: [], ids: "1:1 1:2 2:3" },
    { previous: 1, terms: [1], truncated: 0, fresh: [], ids: "1:1 1:2 2:3" },
    { previous: 1, terms: [1, 2, 4], truncated: 0, fresh: ["4:4"], ids: "1:1 1:2 2:3 4:4" },
    { previous: 1, terms: [1, 3], truncated: 3, fresh: ["3:3"], ids: "1:1 1:2 3:3" },
    { previous: 1, terms: [3], truncated: 2, fresh: ["3:2"], ids: "1:1 3:2" },
    { previous: 0, terms: [1, 3], truncated: 2, fresh: ["3:2"], ids: "1:1 3:2" },
  ])("after $previous entries of $terms: $ids", ({ previous, terms, truncated, fresh, ids }) => {
    const { log, disk, write } = logOf([1, 1, 2], { commit: 1 });
    const id = { term: log.term(previous)!, index: previous };
    const sent = terms.map((term, at) => entryAt(term, previous + at + 1));
    const result = log.appendFrom(id, sent);
    expect({ ...result, fresh: idsOf(result.fresh) }).toEqual({ refusal: "", truncated, fresh });
    const taken = write(1);
    expect(taken.truncateFrom).toBe(truncated === 0 ? undefined : truncated);
    expect(idsOf(taken.entries)).toEqual(fresh);
    expect(idsOf(disk.all()).join(" ")).toBe(ids);
  });

  const GAP = "entries or sequence numbers have a gap";

  test.each([
    { name: "an index is left out", entries: [entryAt(3, 5)], refusal: GAP },
    { name: "an index comes twice", entries: [entryAt(3, 4), entryAt(3, 4)], refusal: GAP },
    {
      name: "a later index is left out",
      entries: [entryAt(3, 4), entryAt(3, 6)],
      refusal: GAP,
    },
    {
      name: "a sequence number is left out",
      entries: [{ ...entryAt(3, 4), firstSequence: 5 }],
      refusal: GAP,
    },
    {
      name: "the count does not lead to the next entry",
      entries: [{ ...entryAt(3, 4), count: 2 }, entryAt(3, 5)],
      refusal: GAP,
    },
    {
      name: "an entry has no operations",
      entries: [{ ...entryAt(3, 4), count: 0 }],
      refusal: GAP,
    },
  ])("refused when $name", ({ entries, refusal }) => {
    const { log } = logOf([1, 1, 2]);
    const before = viewOf(log);
    const result = log.appendFrom({ term: 2, index: 3 }, entries);
    expect(result).toEqual({ refusal, truncated: 0, fresh: [] });
    expect(viewOf(log)).toEqual(before);
  });

  test("entries of several operations each are taken", () => {
    const { log } = logOf([1]);
    const entries = [
      { ...entryAt(2, 2), count: 3 },
      { ...entryAt(2, 3), firstSequence: 5 },
    ];
    expect(log.appendFrom({ term: 1, index: 1 }, entries)).toEqual({
      refusal: "",
      truncated: 0,
      fresh: entries,
    });
  });

  test.each([
    { commit: 1, refusal: "" },
    { commit: 2, refusal: "entry 2 conflicts with a committed one" },
    { commit: 3, refusal: "entry 2 conflicts with a committed one" },
  ])("a conflict at 2 with $commit committed: '$refusal'", ({ commit, refusal }) => {
    const { log } = logOf([1, 1, 2], { commit });
    const result = log.appendFrom({ term: 1, index: 1 }, [entryAt(3, 2)]);
    expect(result.refusal).toBe(refusal);
    expect(result.fresh.length).toBe(refusal === "" ? 1 : 0);
    expect(log.lastIndex).toBe(refusal === "" ? 2 : 3);
  });

  test("an append that does not match is a bug of the caller", () => {
    const { log } = logOf([1, 1]);
    expect(() => log.appendFrom({ term: 2, index: 2 }, [])).toThrow("checked the previous entry");
  });
});

describe("truncation", () => {
  test("inside of the tail nothing that is written goes", () => {
    const { log, write } = logOf([1, 1]);
    log.appendFrom({ term: 1, index: 2 }, [entryAt(2, 3), entryAt(2, 4), entryAt(2, 5)]);
    log.appendFrom({ term: 2, index: 3 }, [entryAt(3, 4)]);
    expect(log.durableIndex).toBe(2);
    const { truncateFrom, entries } = write(1);
    expect({ truncateFrom, ids: idsOf(entries) }).toEqual({
      truncateFrom: undefined,
      ids: ["2:3", "3:4"],
    });
  });

  test("the whole tail goes, and nothing that is written", () => {
    const { log, write } = logOf([1, 1]);
    log.appendFrom({ term: 1, index: 2 }, [entryAt(2, 3), entryAt(2, 4)]);
    log.appendFrom({ term: 1, index: 2 }, [entryAt(3, 3)]);
    const { truncateFrom, entries } = write(1);
    expect({ truncateFrom, ids: idsOf(entries) }).toEqual({
      truncateFrom: undefined,
      ids: ["3:3"],
    });
  });

  // The Ready supersedes from the lowest place that any of them reached.
  test("two before one Ready: the lower one counts", () => {
    const { log, write } = logOf([1, 1, 1, 1]);
    log.appendFrom({ term: 1, index: 3 }, [entryAt(2, 4)]);
    log.appendFrom({ term: 1, index: 1 }, [entryAt(3, 2)]);
    expect(viewOf(log)).toEqual({
      firstIndex: 1,
      lastIndex: 2,
      durableIndex: 1,
      committed: 0,
      hasTail: true,
      isDurable: false,
    });
    const { truncateFrom, entries } = write(1);
    expect({ truncateFrom, ids: idsOf(entries) }).toEqual({ truncateFrom: 2, ids: ["3:2"] });
    expect(write(2)).toEqual({ restored: undefined, truncateFrom: undefined, entries: [] });
  });
});

describe("durable", () => {
  test("each Ready makes durable what it carried, and all before it", () => {
    const { log, write } = logOf([]);
    const durable = [];
    for (const number of [1, 2, 3, 4]) {
      log.appendNew(1, source("a"));
      write(number);
    }
    durable.push(log.durableIndex);
    for (const number of [1, 3, 4]) {
      log.persisted(number);
      durable.push(log.durableIndex);
    }
    expect(durable).toEqual([0, 1, 3, 4]);
    expect(log.isDurable).toBe(true);
  });

  test("a tail that no Ready has carried is not durable with the Readies before", () => {
    const { log, write } = logOf([]);
    log.appendNew(1, source("a"));
    write(1);
    log.appendNew(1, source("b"));
    log.persisted(1);
    const { durableIndex, isDurable, hasTail } = log;
    expect({ durableIndex, isDurable, hasTail }).toEqual({
      durableIndex: 1,
      isDurable: false,
      hasTail: true,
    });
  });

  // The append ABA race: a sync that was issued before a truncation does not cover the new tail.
  test("a sync of entries truncated meanwhile counts up to the truncation only", () => {
    const { log, write } = logOf([]);
    log.appendFrom(NO_ENTRY, entriesOf(1, 1, 1));
    write(1);
    log.appendFrom({ term: 1, index: 1 }, [entryAt(2, 2), entryAt(2, 3)]);
    write(2);
    log.persisted(1);
    expect(log.durableIndex).toBe(1);
    log.persisted(2);
    expect(log.durableIndex).toBe(3);
  });

  test("an empty Ready changes nothing", () => {
    const { log, write } = logOf([1, 1]);
    write(1);
    log.persisted(1);
    expect(log.durableIndex).toBe(2);
  });

  test("Readies out of order are a bug", () => {
    const { log, write } = logOf([]);
    write(2);
    expect(() => log.persisting(2)).toThrow("numbered in order");
  });
});

describe("commit", () => {
  test.each([
    { to: 1, moved: false, committed: 2 },
    { to: 2, moved: false, committed: 2 },
    { to: 3, moved: true, committed: 3 },
    { to: 4, moved: true, committed: 4 },
  ])("to $to from 2 of 4: moved $moved", ({ to, moved, committed }) => {
    const { log } = logOf([1, 1, 1, 1], { commit: 2 });
    expect(log.commitTo(to)).toBe(moved);
    expect(log.committed).toBe(committed);
  });

  test("beyond the last entry is a bug", () => {
    expect(() => logOf([1]).log.commitTo(2)).toThrow("only entries of the log");
  });
});

describe("entries to send", () => {
  // Entries of 3 bytes each; the first is sent whatever its size.
  test.each([
    { bytesMax: 0, ids: ["2:3"] },
    { bytesMax: 5, ids: ["2:3"] },
    { bytesMax: 6, ids: ["2:3", "2:4"] },
    { bytesMax: 8, ids: ["2:3", "2:4"] },
    { bytesMax: 9, ids: ["2:3", "2:4", "2:5"] },
    { bytesMax: 1_000, ids: ["2:3", "2:4", "2:5"] },
  ])("of the tail, within $bytesMax bytes: $ids", ({ bytesMax, ids }) => {
    const { log } = logOf([1, 1]);
    log.appendFrom({ term: 1, index: 2 }, [entryAt(2, 3), entryAt(2, 4), entryAt(2, 5)]);
    expect(idsOf(log.entries(3, bytesMax)!)).toEqual(ids);
  });

  test("from the middle and the end of the tail", () => {
    const { log } = logOf([1, 1]);
    log.appendFrom({ term: 1, index: 2 }, [entryAt(2, 3), entryAt(2, 4), entryAt(2, 5)]);
    expect(idsOf(log.entries(4, 1_000)!)).toEqual(["2:4", "2:5"]);
    expect(idsOf(log.entries(5, 1_000)!)).toEqual(["2:5"]);
  });

  test("of the written part, up to the tail", () => {
    const { log, disk } = logOf([1, 1, 1]);
    log.appendNew(2, source("a"));
    expect(idsOf(log.entries(2, 1_000)!)).toEqual(["1:2", "1:3"]);
    expect(idsOf(log.entries(3, 1_000)!)).toEqual(["1:3"]);
    expect(idsOf(log.entries(2, 3)!)).toEqual(["1:2"]);
    disk.cachedFrom = 3;
    expect(log.entries(2, 1_000)).toBeUndefined();
  });

  // Written entries that a new tail supersedes are on disk still, until the Ready is written.
  test("of the written part, without the superseded entries", () => {
    const { log } = logOf([1, 1, 1]);
    log.appendFrom({ term: 1, index: 2 }, [entryAt(2, 3)]);
    expect(idsOf(log.entries(1, 1_000)!)).toEqual(["1:1", "1:2"]);
    expect(idsOf(log.entries(3, 1_000)!)).toEqual(["2:3"]);
  });

  test("outside of the log is a bug", () => {
    const { log } = logOf([1, 1, 1], { cut: 1 });
    expect(() => log.entries(1, 1_000)).toThrow("is kept");
    expect(() => log.entries(4, 1_000)).toThrow("was appended");
  });
});

// Log 1 1 1 4 4 6, the first entry cut: its term is still known, that of the ones before is not.
test.each([
  { index: 6, term: 6, hint: { term: 6, index: 6 } },
  { index: 9, term: 9, hint: { term: 6, index: 6 } },
  { index: 6, term: 5, hint: { term: 4, index: 5 } },
  { index: 5, term: 4, hint: { term: 4, index: 5 } },
  { index: 4, term: 4, hint: { term: 4, index: 4 } },
  { index: 6, term: 3, hint: { term: 1, index: 3 } },
  { index: 2, term: 1, hint: { term: 1, index: 2 } },
  { index: 6, term: 0, hint: { term: 0, index: 0 } },
  { index: 0, term: 5, hint: { term: 0, index: 0 } },
])("conflict hint at $index, term $term: $hint", ({ index, term, hint }) => {
  expect(logOf([1, 1, 1, 4, 4, 6], { cut: 1 }).log.conflictHint(index, term)).toEqual(hint);
});

test("conflict hint: a place that was cut is named without a term", () => {
  const { log } = logOf([2, 2, 2, 2], { cut: 3 });
  expect(log.conflictHint(4, 1)).toEqual({ term: 0, index: 2 });
  expect(log.conflictHint(1, 2)).toEqual({ term: 0, index: 1 });
});

describe("snapshot", () => {
  const BASE = { term: 3, index: 9, nextSequence: 40 };

  test("the log starts over behind it, before and after a Ready carried it", () => {
    const { log, write, disk } = logOf([1, 1], { commit: 1 });
    log.appendFrom({ term: 1, index: 2 }, [entryAt(2, 3)]);
    log.restore(BASE);
    const restored = { firstIndex: 10, lastIndex: 9, committed: 9, durableIndex: 0 };
    expect(viewOf(log)).toEqual({ ...restored, hasTail: true, isDurable: false });
    expect([8, 9, 10].map((index) => log.term(index))).toEqual([undefined, 3, undefined]);
    expect(log.last).toEqual({ term: 3, index: 9 });

    expect(write(1)).toEqual({ restored: BASE, truncateFrom: undefined, entries: [] });
    expect(viewOf(log)).toEqual({ ...restored, hasTail: false, isDurable: false });
    log.persisted(1);
    expect(viewOf(log)).toEqual({
      ...restored,
      durableIndex: 9,
      hasTail: false,
      isDurable: true,
    });
    expect(disk.firstIndex()).toBe(10);
  });

  test("a truncation before it is not carried along", () => {
    const { log, write } = logOf([1, 1, 1]);
    log.appendFrom({ term: 1, index: 1 }, [entryAt(2, 2)]);
    log.restore(BASE);
    log.appendFrom({ term: 3, index: 9 }, [{ ...entryAt(4, 10), firstSequence: 40 }]);
    const { restored, truncateFrom, entries } = write(1);
    expect({ restored, truncateFrom, ids: idsOf(entries) }).toEqual({
      restored: BASE,
      truncateFrom: undefined,
      ids: ["4:10"],
    });
  });

  // Otherwise a node could campaign with entries that are on no disk.
  test("a sync from before it makes nothing durable", () => {
    const { log, write } = logOf([]);
    log.appendFrom(NO_ENTRY, entriesOf(1, 1, 1));
    write(1);
    log.restore(BASE);
    log.persisted(1);
    expect(log.durableIndex).toBe(0);
    write(2);
    log.persisted(2);
    expect(log.durableIndex).toBe(9);
  });

  test("entries that do not go on from its sequence number are refused", () => {
    const { log } = logOf([1]);
    log.restore(BASE);
    expect(log.appendFrom({ term: 3, index: 9 }, [entryAt(4, 10)]).refusal).not.toBe("");
  });

  test.each([1, 2])("one at %i, which is committed already, is a bug", (index) => {
    const { log } = logOf([1, 1, 1], { commit: 2 });
    expect(() => log.restore({ ...BASE, index })).toThrow("ahead of the committed entries");
  });
});
