/**
 * The session table: which requests are new, which are repeats, which are refused.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { SESSION_RESULT_BYTES_MAX, SESSION_WINDOW_MAX } from "../../src/base/limits.ts";
import {
  type Admission,
  type SessionRequest,
  SessionTable,
  type StoredResult,
} from "../../src/database/session_table.ts";
import type { SeededRandom } from "../../src/platform/random.ts";
import { fuzzRandom, rounds, seeded } from "../protocol/fuzz_seed.ts";

function ask(requestNumber: number, acknowledgedBelow = 0, checksum = 7): SessionRequest {
  return { sessionId: 1, requestNumber, acknowledgedBelow, checksum };
}

/** What `apply` does with a request; the version is made of its number. */
function run(table: SessionTable, request: SessionRequest, result?: StoredResult): string {
  table.acknowledge(request, 0);
  const admission = table.admit(request);
  if (admission.verdict !== "new") return show(admission);
  table.store(request, result ?? { kind: "written", version: request.requestNumber * 10 });
  return "new";
}

function show(admission: Admission): string {
  if (admission.verdict !== "repeat") return admission.verdict;
  const { result } = admission;
  if (result.kind === "written") return `repeat ${result.version}`;
  const bytes = result.kind === "payload" ? result.payload : result.refusal;
  return `repeat ${result.kind} ${bytes.byteLength}`;
}

function opened(): SessionTable {
  const table = new SessionTable();
  table.open(1, 0);
  return table;
}

describe("window", () => {
  // Request 6 was refused as overloaded, 7 was committed, then 6 comes again. Mutation that this
  // finds: a table that keeps only the last number takes 6 for a repeat, and loses it.
  test("sessions: a refused request that comes again after a later one is new", () => {
    const table = opened();
    for (let number = 1; number <= 5; number += 1) run(table, ask(number));
    expect(run(table, ask(7, 6))).toBe("new");
    expect(run(table, ask(6, 6))).toBe("new");
    expect(run(table, ask(6, 6))).toBe("repeat 60");
    expect(run(table, ask(7, 6))).toBe("repeat 70");
  });

  // Mutation that this finds: `<=` for `<` at either end of the window.
  test("sessions: the window begins at acknowledgedBelow and has its size", () => {
    const table = opened();
    expect(run(table, ask(SESSION_WINDOW_MAX, 1))).toBe("new");
    expect(run(table, ask(SESSION_WINDOW_MAX + 1, 1))).toBe("window full");
    expect(run(table, ask(1, 1))).toBe("new");
    expect(run(table, ask(2, 2))).toBe("new");
    expect(run(table, ask(1, 1))).toBe("acknowledged");
    expect(run(table, ask(SESSION_WINDOW_MAX + 1, 2))).toBe("new");
    expect(run(table, ask(SESSION_WINDOW_MAX, 2))).toBe(`repeat ${SESSION_WINDOW_MAX * 10}`);
  });

  test("sessions: a lower acknowledgedBelow does not move the window back", () => {
    const table = opened();
    run(table, ask(10, 10));
    expect(run(table, ask(9, 1))).toBe("acknowledged");
    expect(run(table, ask(10, 1))).toBe("repeat 100");
  });

  test("sessions: one that acknowledges itself is refused, not executed", () => {
    const table = opened();
    expect(run(table, ask(5, 6))).toBe("acknowledged");
    expect(run(table, ask(5, 5))).toBe("acknowledged");
    expect(run(table, ask(6, 6))).toBe("new");
  });

  test("sessions: a jump of acknowledgedBelow by far frees all, and numbers go on", () => {
    const table = opened();
    for (let number = 1; number <= 100; number += 1) run(table, ask(number));
    const far = Number.MAX_SAFE_INTEGER - 10;
    expect(run(table, ask(far, far))).toBe("new");
    expect(run(table, ask(far, far))).toBe(`repeat ${far * 10}`);
    expect(run(table, ask(100, far))).toBe("acknowledged");
  });

  test("sessions: a number that was used with other bytes is refused", () => {
    const table = opened();
    run(table, ask(1, 0, 7));
    expect(run(table, ask(1, 0, 8))).toBe("other bytes");
    expect(run(table, ask(1, 0, 7))).toBe("repeat 10");
  });

  test("sessions: an unknown or closed session executes nothing", () => {
    const table = new SessionTable();
    expect(run(table, ask(1))).toBe("unknown session");
    table.open(1, 0);
    run(table, ask(1));
    table.close(1);
    table.close(1);
    expect(run(table, ask(1))).toBe("unknown session");
  });

  test("sessions: looking up changes nothing", () => {
    const table = opened();
    run(table, ask(3));
    const before = table.encode();
    for (const number of [1, 2, 3, 9_999]) table.admit(ask(number, 3, 9));
    expect(table.encode()).toEqual(before);
  });

  test("sessions: stored documents are bounded, and acknowledging makes room", () => {
    const table = opened();
    const payload = new Uint8Array(SESSION_RESULT_BYTES_MAX / 2 + 1);
    expect(run(table, ask(1), { kind: "payload", payload })).toBe("new");
    expect(run(table, ask(2), { kind: "payload", payload })).toBe("new");
    expect(run(table, ask(3))).toBe("window full");
    expect(run(table, ask(2))).toBe(`repeat payload ${payload.byteLength}`);
    expect(run(table, ask(3, 2))).toBe("new");
  });

  // Refused, it would wait for ever: what is kept stands behind it, and cannot be acknowledged.
  test("sessions: the oldest request is let in whatever is kept", () => {
    const table = opened();
    const payload = new Uint8Array(SESSION_RESULT_BYTES_MAX / 2 + 1);
    expect(run(table, ask(2), { kind: "payload", payload })).toBe("new");
    expect(run(table, ask(3), { kind: "payload", payload })).toBe("new");
    expect(run(table, ask(4, 1))).toBe("window full");
    expect(run(table, ask(1, 1))).toBe("new");
    expect(run(table, ask(4, 4))).toBe("new");
  });
});

describe("expiry", () => {
  test("sessions: idle ones end, and the longest idle above the bound", () => {
    const table = new SessionTable();
    for (const id of [1, 2, 3, 4]) table.open(id, id * 100);
    expect(table.expired(0, 10)).toEqual([]);
    expect(table.expired(201, 10)).toEqual([1, 2]);
    expect(table.expired(0, 2)).toEqual([1, 2]);
    table.acknowledge(ask(1), 900);
    expect(table.expired(0, 2)).toEqual([2, 3]);
    expect(table.expired(300, 10)).toEqual([2]);
    table.acknowledge(ask(1), 100);
    expect(table.expired(901, 10)).toEqual([2, 3, 4, 1]);
  });
});

/** The table without any cleverness. */
class NaiveTable {
  acknowledgedBelow = 1;
  readonly results = new Map<number, { readonly checksum: number; readonly shown: string }>();

  run(request: SessionRequest, shown: string): string {
    this.acknowledgedBelow = Math.max(this.acknowledgedBelow, request.acknowledgedBelow);
    for (const number of this.results.keys()) {
      if (number < this.acknowledgedBelow) this.results.delete(number);
    }
    const { requestNumber, checksum } = request;
    if (requestNumber < this.acknowledgedBelow) return "acknowledged";
    if (requestNumber >= this.acknowledgedBelow + SESSION_WINDOW_MAX) return "window full";
    const known = this.results.get(requestNumber);
    if (known === undefined) this.results.set(requestNumber, { checksum, shown });
    if (known === undefined) return "new";
    return known.checksum === checksum ? known.shown : "other bytes";
  }
}

function randomResult(random: SeededRandom, version: number): StoredResult {
  const bytes = new Uint8Array(random.below(40));
  if (random.chance(0.15)) return { kind: "payload", payload: bytes };
  if (random.chance(0.1)) return { kind: "refused", refusal: bytes };
  return { kind: "written", version };
}

function shown(result: StoredResult): string {
  return show({ verdict: "repeat", result });
}

describe("model", () => {
  // Mutations that this finds: growth that loses results, slots that are taken by other numbers, a
  // stale version in the bytes of a payload.
  test(seeded("sessions: behave like a plain map, also when restored on the way"), () => {
    const random = fuzzRandom();
    for (let round = 0; round < rounds(40); round += 1) {
      const table = opened();
      let restored = opened();
      const naive = new NaiveTable();
      const spread = [5, 50, 600, 5_000][round % 4]!;
      for (let steps = 0; steps < 600; steps += 1) {
        const base = naive.acknowledgedBelow;
        const requestNumber = Math.max(1, base - 3 + random.below(spread));
        const acknowledgedBelow = random.chance(0.3) ? base + random.below(spread >> 1) : 0;
        const request = ask(requestNumber, acknowledgedBelow, random.below(10) === 0 ? 8 : 7);
        const result = randomResult(random, steps + 1);
        const expected = naive.run(request, shown(result));
        expect(run(table, request, result)).toBe(expected);
        expect(run(restored, request, result)).toBe(expected);
        if (steps % 40 === 0) {
          const bytes = restored.encode();
          expect(bytes).toEqual(table.encode());
          restored = new SessionTable();
          restored.restore(bytes);
          expect(restored.encode()).toEqual(bytes);
        }
      }
    }
  });

  test("sessions: many are encoded in order of id, whatever the order of events", () => {
    const [a, b] = [new SessionTable(), new SessionTable()];
    for (const id of [1, 2, 3, 40]) a.open(id, 5);
    for (const id of [40, 3, 2, 1]) b.open(id, 5);
    expect(a.encode()).toEqual(b.encode());
    a.restore(b.encode());
    expect(a.size).toBe(4);
    expect(a.expired(6, 10)).toEqual([1, 2, 3, 40]);
  });

  test("sessions: cut or longer bytes are refused", () => {
    const table = opened();
    run(table, ask(1), { kind: "payload", payload: new Uint8Array(3) });
    const bytes = table.encode();
    for (let end = 0; end < bytes.byteLength; end += 1) {
      expect(() => new SessionTable().restore(bytes.subarray(0, end))).toThrow("Cannot read");
    }
    expect(() => new SessionTable().restore(new Uint8Array([...bytes, 0]))).toThrow("follow");
  });

  test("sessions: restored results are copies", () => {
    const table = opened();
    run(table, ask(1), { kind: "payload", payload: Uint8Array.of(1, 2, 3) });
    const bytes = Buffer.from(table.encode());
    const restored = new SessionTable();
    restored.restore(bytes);
    bytes.fill(0xff);
    expect(restored.encode()).toEqual(table.encode());
  });
});
