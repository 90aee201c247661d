/**
 * The judgement of a history, and its format: what the checker must find, and what it must allow.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { formatHistory, operationsOf, parseHistory, type SeenOperation } from "./history_file.ts";
import { judge } from "./verdict.ts";

type Given = Partial<SeenOperation> & Pick<SeenOperation, "op">;

/** One client after the other: each operation takes 10 ns, and 10 ns lie between two. */
function history(...operations: readonly Given[]): SeenOperation[] {
  return operations.map((operation, i) => ({
    client: 1,
    key: "k1",
    value: null,
    start: i * 20,
    end: i * 20 + 10,
    outcome: "ok",
    ...operation,
  }));
}

describe("judge", () => {
  test("a history in order is linearizable and complete", () => {
    const seen = history(
      { op: "get" },
      { op: "put", value: "v1" },
      { op: "cas", value: "v2", expect: "v1" },
      { op: "get", value: "v2" },
      { op: "delete" },
      { op: "get" },
    );
    expect(judge(seen)).toEqual({ linearizable: true, lostAcknowledged: 0, failures: [] });
  });

  test("a lost write: the last read sees what was there before it", () => {
    const seen = history(
      { op: "put", value: "v1" },
      { op: "put", value: "v2" },
      { op: "get", value: "v1" },
    );
    const verdict = judge(seen);
    expect(verdict.linearizable).toBe(false);
    expect(verdict.lostAcknowledged).toBe(1);
    expect(verdict.failures[1]).toBe("lost: put of k1 = v2, acknowledged to client 1");
  });

  test("a lost delete, and a write lost with its key, are counted", () => {
    const seen = history(
      { op: "put", value: "v1" },
      { op: "delete" },
      { op: "get", value: "v1" },
      { op: "put", key: "k2", value: "v2" },
      { op: "get", key: "k2" },
    );
    expect(judge(seen).lostAcknowledged).toBe(2);
  });

  test("a write of unknown outcome may have overwritten an acknowledged one, also late", () => {
    const seen = history(
      { op: "put", value: "v1", outcome: "unknown" },
      { op: "put", value: "v2" },
      { op: "get", value: "v2" },
      { op: "get", value: "v1" },
    );
    expect(judge(seen)).toEqual({ linearizable: true, lostAcknowledged: 0, failures: [] });
  });

  test("a stale read: a later reader sees what an earlier reader saw replaced", () => {
    const seen = history(
      { op: "put", value: "v1" },
      { op: "put", value: "v2" },
      { op: "get", value: "v2" },
      { op: "get", value: "v1", client: 2 },
      { op: "get", value: "v2" },
    );
    const verdict = judge(seen);
    expect(verdict).toMatchObject({ linearizable: false, lostAcknowledged: 0 });
    // The shortest beginning that nothing explains ends with the stale read.
    expect(verdict.failures[0]).toEndWith("client 2 get v1 [0.000, 0.000] ok");
  });

  test("a write that certainly failed must not be read", () => {
    const failed = { op: "put", value: "v1", outcome: "fail", error: "OVERLOADED" } as const;
    expect(judge(history(failed, { op: "get" })).linearizable).toBe(true);
    expect(judge(history(failed, { op: "get", value: "v1" })).linearizable).toBe(false);
  });

  test("a cas that found a conflict where there was none is a violation", () => {
    const cas = { op: "cas", value: "v2", expect: "v1", outcome: "fail" } as const;
    const before = { op: "put", value: "v1" } as const;
    const conflict = { ...cas, error: "VERSION_CONFLICT" };
    expect(judge(history(before, conflict)).linearizable).toBe(false);
    expect(judge(history(before, { ...cas, error: "OVERLOADED" })).linearizable).toBe(true);
    const other = { op: "put", value: "v3" } as const;
    expect(judge(history(before, other, conflict)).linearizable).toBe(true);
  });

  test("two writes with one version are a violation", () => {
    const seen = history(
      { op: "put", value: "v1", version: 7 },
      { op: "put", value: "v2", version: 7, key: "k2" },
    );
    expect(judge(seen).failures).toEqual(["versions: version 7 stands for k1=v1 and k2=v2"]);
  });
});

describe("history file", () => {
  test("a line has the fields of the format and no others", () => {
    const seen = history({ op: "cas", value: "v2", expect: "v1", version: 3 });
    expect(formatHistory(seen)).toBe(
      '{"client":1,"key":"k1","value":"v2","start":0,"end":10,"outcome":"ok","op":"cas","expect":"v1"}\n',
    );
    expect(parseHistory(formatHistory(seen))).toEqual(
      history({ op: "cas", value: "v2", expect: "v1" }),
    );
  });

  test.each([
    ["{", "it is not JSON"],
    ["[]", "client is no number"],
    ['{"client":1,"op":"move"}', 'op "move" is unknown'],
    ['{"client":1,"op":"put","key":"k","value":7}', "value is neither a text nor null"],
    [
      '{"client":1,"op":"get","key":"k","value":null,"start":2,"end":1,"outcome":"ok"}',
      "it ends before it starts",
    ],
    [
      '{"client":1,"op":"get","key":"k","value":null,"start":1,"end":2,"outcome":"maybe"}',
      'outcome "maybe" is unknown',
    ],
  ])("the line %s is refused by number", (line, reason) => {
    const good = formatHistory(history({ op: "get" }));
    expect(() => parseHistory(`${good}${line}\n`)).toThrow(
      `Cannot read line 2 of the history: ${reason}`,
    );
  });

  test("reads without an answer say nothing", () => {
    const seen = history({ op: "get", outcome: "fail" }, { op: "delete", outcome: "unknown" });
    expect(operationsOf(seen)).toMatchObject([{ kind: "remove", outcome: "unknown" }]);
  });
});
