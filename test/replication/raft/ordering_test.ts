/**
 * The parts of the driver that order effects, one by one: what may leave before the disk has it,
 * who hears which answer, and what a read waits for.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../src/base/bytes.ts";
import { type CStoreError, DeadlineError } from "../../../src/base/errors.ts";
import { beginCommand, endCommand } from "../../../src/protocol/encoding/command.ts";
import type { RaftMessage } from "../../../src/raft/message.ts";
import type { Ready } from "../../../src/raft/ready.ts";
import { NO_RESULTS } from "../../../src/raft/state_machine.ts";
import type { Entry } from "../../../src/raft/types.ts";
import { Applier } from "../../../src/replication/raft/applier.ts";
import { OpenBatch, type ProposedRequest } from "../../../src/replication/raft/open_batch.ts";
import { ProposalTable } from "../../../src/replication/raft/proposal_table.ts";
import { ReadBarriers } from "../../../src/replication/raft/read_barriers.ts";
import { ReadyRunner } from "../../../src/replication/raft/ready_runner.ts";
import { RequestQueue } from "../../../src/replication/raft/request_queue.ts";
import type { ReplicatedLog } from "../../../src/storage/wal/iwal_manager.ts";
import { FakeClock } from "../../transport/fake_socket.ts";

const NOTHING: Ready = {
  number: 0,
  messages: [],
  restored: undefined,
  hardState: undefined,
  truncateFrom: undefined,
  entries: [],
  mustSync: false,
  messagesAfterPersist: [],
  commitIndex: 0,
  reads: [],
  catchUps: [],
  snapshotPeers: [],
  events: [],
};

function message(context: number): RaftMessage {
  return { type: "READ_INDEX", from: "n1", to: "n2", term: 1, context };
}

describe("ready runner", () => {
  function setUp(): {
    run: (ready: Partial<Ready>) => void;
    runner: ReadyRunner;
    happened: string[];
  } {
    const happened: string[] = [];
    let written = 0;
    const log = {
      syncedThrough: 0,
      write: () => {
        written += 1;
        happened.push(`write ${written}`);
        return written;
      },
      requestSync: () => happened.push("sync"),
    } as unknown as ReplicatedLog;
    const runner = new ReadyRunner(log, {
      send: (sent) => happened.push(`send ${(sent as { context: number }).context}`),
      persisted: (number) => happened.push(`persisted ${number}`),
    });
    let number = 0;
    const run = (ready: Partial<Ready>): void => {
      number += 1;
      runner.run({ ...NOTHING, ...ready, number });
    };
    return { run, runner, happened };
  }

  test("messages that promise nothing leave before the write, the others after the sync", () => {
    const { run, runner, happened } = setUp();
    run({ mustSync: true, messages: [message(1)], messagesAfterPersist: [message(2)] });
    expect(happened).toEqual(["send 1", "write 1", "sync"]);
    runner.synced(1);
    expect(happened.slice(3)).toEqual(["persisted 1", "send 2"]);
  });

  // A vote of Ready 2 that overtakes the entries of Ready 1 would count for a log that is not
  // there.
  test("a Ready that wrote nothing still waits for all before it", () => {
    const { run, runner, happened } = setUp();
    run({ mustSync: true, messagesAfterPersist: [message(1)] });
    run({ messagesAfterPersist: [message(2)] });
    expect(happened).toEqual(["write 1", "sync"]);
    runner.synced(1);
    expect(happened.slice(2)).toEqual(["persisted 1", "send 1", "persisted 2", "send 2"]);
  });

  test("a sync releases what it covers and no more, in order", () => {
    const { run, runner, happened } = setUp();
    for (let i = 1; i <= 3; i += 1) run({ mustSync: true, messagesAfterPersist: [message(i)] });
    happened.length = 0;
    runner.synced(2);
    expect(happened).toEqual(["persisted 1", "send 1", "persisted 2", "send 2"]);
    expect(runner.waiting).toBe(1);
    runner.synced(2);
    runner.synced(3);
    expect(happened.slice(4)).toEqual(["persisted 3", "send 3"]);
  });
});

/** Keeps what a request was told. */
class Told {
  readonly lines: string[] = [];

  written(requestId: number, version: number, committed: boolean): void {
    this.lines.push(`${requestId} written ${version} ${committed ? "committed" : "early"}`);
  }

  result(requestId: number): void {
    this.lines.push(`${requestId} result`);
  }

  failed(requestId: number, error: CStoreError): void {
    this.lines.push(`${requestId} ${error.code}`);
  }
}

function request(target: Told, fields: Partial<ProposedRequest>): ProposedRequest {
  const bytes = new Uint8Array(8).fill(fields.requestId ?? 0);
  return {
    bytes,
    start: 0,
    end: 8,
    count: 1,
    target,
    requestId: 0,
    deadlineMs: 1000,
    early: false,
    ...fields,
  };
}

function entryOf(index: number, term: number, firstSequence = 100): Entry {
  return { index, term, firstSequence, count: 1, bytes: new Uint8Array(64) };
}

describe("open batch and proposal table", () => {
  test("each request hears once: the result, or that its deadline passed", () => {
    const told = new Told();
    const batch = new OpenBatch(64);
    batch.add(request(told, { requestId: 1, deadlineMs: 10 }));
    batch.add(request(told, { requestId: 2, deadlineMs: 20 }));
    batch.expire(10, () => new DeadlineError("late"));
    batch.expire(11, () => new DeadlineError("late"));
    batch.fail(() => new DeadlineError("late"));
    batch.fail(() => new DeadlineError("late"));
    expect(told.lines).toEqual(["1 DEADLINE", "2 DEADLINE"]);
  });

  test("early answers: only what may be, only up to the durable index, and once", () => {
    const told = new Told();
    const table = new ProposalTable(NO_RESULTS);
    for (const index of [5, 6]) {
      const batch = new OpenBatch(64);
      batch.add(request(told, { requestId: index * 10, count: 3 }));
      batch.add(request(told, { requestId: index * 10 + 1, early: true }));
      table.add(entryOf(index, 1, index * 100), batch, 0);
    }
    table.answerEarly(4);
    expect(told.lines).toEqual([]);
    table.answerEarly(5);
    table.answerEarly(5);
    // Behind the three operations of the first request.
    expect(told.lines).toEqual(["51 written 503 early"]);
    const results = table.resultsFor(entryOf(5, 1, 500));
    results.written(0, 500);
    results.written(1, 503);
    expect(told.lines.slice(1)).toEqual(["50 written 500 committed"]);
  });

  test("an entry of another term at the index: unknown outcome, never its results", () => {
    const told = new Told();
    const table = new ProposalTable(NO_RESULTS);
    const batch = new OpenBatch(64);
    batch.add(request(told, { requestId: 1 }));
    table.add(entryOf(5, 1), batch, 0);
    const results = table.resultsFor(entryOf(5, 2));
    results.written(0, 100);
    expect(told.lines).toEqual(["1 UNKNOWN_OUTCOME"]);
    expect([table.size, table.bytes]).toEqual([0, 0]);
  });

  test("lost leadership ends all that was proposed, with an unknown outcome", () => {
    const told = new Told();
    const table = new ProposalTable(NO_RESULTS);
    for (const index of [5, 6]) {
      const batch = new OpenBatch(64);
      batch.add(request(told, { requestId: index }));
      table.add(entryOf(index, 1), batch, 0);
    }
    expect(table.inFlight.count).toBe(2);
    table.committed(5, 1, 0);
    expect(table.inFlight.count).toBe(1);
    table.failAll();
    expect(told.lines).toEqual(["5 UNKNOWN_OUTCOME", "6 UNKNOWN_OUTCOME"]);
    expect([table.size, table.bytes]).toEqual([0, 0]);
    expect(table.inFlight).toEqual({ count: 0, bytes: 0 });
  });
});

describe("a large request that comes again", () => {
  /** A command with so many bytes behind its header. */
  function command(sessionId: number, requestNumber: number, size: number): Uint8Array {
    const writer = new ByteWriter(1 << 17);
    const identity = { sessionId, requestNumber, acknowledgedBelow: 0, count: 1 };
    const start = beginCommand(writer, "DOCUMENTS", identity);
    writer.raw(new Uint8Array(size));
    endCommand(writer, start);
    return writer.written();
  }

  function large(target: Told, requestNumber: number, requestId: number): ProposedRequest {
    const bytes = command(7, requestNumber, 64 * 1024);
    return request(target, { bytes, end: bytes.byteLength, requestId });
  }

  test("is not carried again while its first copy is under way, and hears what came of it", () => {
    const [told, table] = [new Told(), new ProposalTable(NO_RESULTS)];
    const batch = new OpenBatch(64);
    batch.add(large(told, 1, 11));
    table.add(entryOf(5, 1, 500), batch, 0);
    expect(table.rejoin(large(told, 1, 12))).toBe(false); // The first one still waits.
    table.expire(1000);
    expect(table.rejoin(large(told, 2, 13))).toBe(false);
    expect(table.rejoin(large(told, 1, 14))).toBe(true);
    expect(table.rejoin(large(told, 1, 15))).toBe(false);
    table.resultsFor(entryOf(5, 1, 500)).written(0, 500);
    expect(told.lines).toEqual(["11 DEADLINE", "14 written 500 committed"]);
    expect(table.rejoin(large(told, 1, 16))).toBe(false);
  });

  test("small ones, and those without a session, are carried each time", () => {
    const [told, table] = [new Told(), new ProposalTable(NO_RESULTS)];
    for (const bytes of [command(7, 1, 1024), command(0, 0, 64 * 1024)]) {
      const again = request(told, { bytes, end: bytes.byteLength });
      const batch = new OpenBatch(64);
      batch.add(again);
      table.add(entryOf(5, 1), batch, 0);
      table.expire(1000);
      expect(table.rejoin(again)).toBe(false);
    }
  });
});

describe("bytes in flight", () => {
  test("count until the commit is known or the entry is applied, whichever is first", () => {
    const table = new ProposalTable(NO_RESULTS);
    for (const index of [5, 6, 7]) {
      const batch = new OpenBatch(64);
      batch.add(request(new Told(), { requestId: index }));
      table.add(entryOf(index, 1), batch, index);
    }
    const { bytes } = table.inFlight;
    table.resultsFor(entryOf(5, 1));
    expect(table.inFlight).toEqual({ count: 2, bytes: (2 * bytes) / 3 });
    table.committed(6, 16, 0);
    table.committed(6, 17, 0);
    expect(table.inFlight).toEqual({ count: 1, bytes: bytes / 3 });
    table.resultsFor(entryOf(6, 1));
    table.resultsFor(entryOf(7, 1));
    expect(table.inFlight).toEqual({ count: 0, bytes: 0 });
  });
});

describe("requests that wait", () => {
  test("close a batch at the given size; one that nobody waits for is not proposed", () => {
    const told = new Told();
    const queue = new RequestQueue();
    for (const [requestId, deadlineMs] of [10, 10, 90].entries()) {
      queue.add(request(told, { requestId, deadlineMs }), 1);
    }
    const size = queue.bytes / 3;
    queue.expire(50);
    expect(queue.take()?.requestIds).toEqual([2]);
    expect({ left: queue.take(), bytes: queue.bytes }).toEqual({ left: undefined, bytes: 0 });
    for (const requestId of [3, 4, 5]) queue.add(request(told, { requestId }), 2 * size);
    expect([queue.take()?.requestIds, queue.take()?.requestIds]).toEqual([[3, 4], [5]]);
  });
});

describe("applier", () => {
  function setUp(): {
    applier: Applier;
    clock: FakeClock;
    happened: string[];
    applyMs: { now: number };
  } {
    const happened: string[] = [];
    const clock = new FakeClock();
    const applyMs = { now: 0 };
    const machine = {
      appliedIndex: 0,
      apply: (entry: Entry) => {
        machine.appliedIndex = entry.index;
        happened.push(`apply ${entry.index}`);
        clock.advance(applyMs.now);
      },
    };
    const entries = (from: number, to: number): Entry[] =>
      Array.from({ length: to - from + 1 }, (_, i) => entryOf(from + i, 1));
    const log = { entries, readFromDisk: () => [] } as unknown as ReplicatedLog;
    const applier = new Applier({ log, machine: machine as never }, clock, {
      resultsFor: () => NO_RESULTS,
      applied: (index) => happened.push(`applied ${index}`),
    });
    return { applier, clock, happened, applyMs };
  }

  test("a waiter runs once its index is applied, not before", () => {
    const { applier, happened } = setUp();
    applier.whenApplied(2, () => happened.push("read 2"));
    applier.whenApplied(3, () => happened.push("read 3"));
    applier.advance(2);
    expect(happened).toEqual(["apply 1", "apply 2", "read 2", "applied 2"]);
    applier.whenApplied(1, () => happened.push("read 1"));
    applier.advance(3);
    expect(happened.slice(4)).toEqual(["read 1", "apply 3", "read 3", "applied 3"]);
  });

  test("slow entries are applied in slices; new ones do not start a second run", () => {
    const { applier, clock, happened, applyMs } = setUp();
    applyMs.now = 6;
    applier.advance(3);
    expect(happened).toEqual(["apply 1", "applied 1"]);
    applier.advance(4);
    expect(happened).toEqual(["apply 1", "applied 1"]);
    for (let i = 0; i < 5; i += 1) clock.advance(20);
    const applied = happened.filter((line) => line.startsWith("apply "));
    expect(applied).toEqual(["apply 1", "apply 2", "apply 3", "apply 4"]);
  });

  test("stopped: nothing more is applied, and nobody is called", () => {
    const { applier, happened } = setUp();
    applier.whenApplied(1, () => happened.push("read"));
    applier.stop();
    applier.advance(1);
    expect(happened).toEqual([]);
  });
});

describe("read barriers", () => {
  test("reads of one turn share a barrier; later ones need one of their own", () => {
    const barriers = new ReadBarriers(10);
    const happened: number[] = [];
    const asked: number[] = [];
    const ask = (context: number): boolean => asked.push(context) > 0;
    for (const id of [1, 2]) barriers.add({ run: () => happened.push(id) });
    barriers.ask(0, ask);
    // The barrier was asked for before this read arrived: it proves nothing for it.
    barriers.add({ run: () => happened.push(3) });
    for (const waiting of barriers.finish({ context: asked[0] ?? 0, index: 5 })) waiting.run();
    expect(happened).toEqual([1, 2]);
    barriers.ask(1, ask);
    expect(new Set(asked).size).toBe(2);
    for (const waiting of barriers.finish({ context: asked[1] ?? 0, index: 5 })) waiting.run();
    expect(happened).toEqual([1, 2, 3]);
    expect(barriers.size).toBe(0);
  });

  test("a question without an answer is asked again; the first answer to either counts, once", () => {
    for (const first of [0, 1]) {
      const barriers = new ReadBarriers(10);
      const asked: number[] = [];
      const ask = (context: number): boolean => asked.push(context) > 0;
      barriers.add({ run: () => undefined });
      barriers.ask(0, ask);
      barriers.retry(-1);
      expect([barriers.hasQueued, barriers.size]).toEqual([false, 1]);
      barriers.retry(0);
      expect([barriers.hasQueued, barriers.size]).toEqual([true, 1]);
      // One that came later is covered by the second answer only.
      barriers.add({ run: () => undefined });
      barriers.ask(5, ask);
      const finish = (at: number) => barriers.finish({ context: asked[at] ?? 0, index: 5 });
      const counts = [finish(first), finish(1 - first), finish(0), finish(1)];
      expect(counts.map((covered) => covered.length)).toEqual(
        first === 0 ? [1, 1, 0, 0] : [2, 0, 0, 0],
      );
      expect(barriers.size).toBe(0);
    }
  });

  test("an answer before the second question is out ends it", () => {
    const barriers = new ReadBarriers(10);
    const asked: number[] = [];
    barriers.add({ run: () => undefined });
    barriers.ask(0, (context) => asked.push(context) > 0);
    barriers.retry(0);
    expect(barriers.finish({ context: asked[0] ?? 0, index: 5 })).toHaveLength(1);
    barriers.ask(5, (context) => asked.push(context) > 0);
    expect([asked.length, barriers.size]).toEqual([1, 0]);
  });

  test("questions that nobody answers are given up, their reads are not", () => {
    const barriers = new ReadBarriers(10);
    const asked: number[] = [];
    barriers.add({ run: () => undefined });
    for (let turn = 0; turn < 200; turn += 1) {
      barriers.ask(turn, (context) => asked.push(context) > 0);
      barriers.retry(turn);
    }
    expect(asked).toHaveLength(200);
    expect(barriers.finish({ context: asked[0] ?? 0, index: 5 })).toEqual([]);
    expect(barriers.size).toBe(1);
    expect(barriers.finish({ context: asked.at(-1) ?? 0, index: 5 })).toHaveLength(1);
  });

  test("with nobody to ask, reads wait", () => {
    const barriers = new ReadBarriers(10);
    barriers.add({ run: () => undefined });
    barriers.ask(0, () => false);
    expect([barriers.hasQueued, barriers.size]).toEqual([true, 1]);
  });
});
