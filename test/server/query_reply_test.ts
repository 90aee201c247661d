/**
 * Answers to queries: errors of a query are answered, broken invariants are not; each fits a frame.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { AssertionError } from "../../src/base/assert.ts";
import { type CStoreError, QueryError } from "../../src/base/errors.ts";
import { ANSWER_SIZE_MAX } from "../../src/base/limits.ts";
import { asAnswer, bounded } from "../../src/server/query_reply.ts";

test("an error of ours is the answer, one of the runtime becomes a QueryError", () => {
  const own = new QueryError("no");
  expect(asAnswer(own)).toBe(own);
  const cause = new RangeError("too deep");
  expect(asAnswer(cause)).toMatchObject({
    code: "QUERY",
    message: "Cannot answer the request: too deep",
    cause,
  });
});

test("a broken invariant, or what is no error, ends the node", () => {
  expect(() => asAnswer(new AssertionError("odd"))).toThrow(AssertionError);
  expect(() => asAnswer("odd")).toThrow("odd");
});

test("an answer has at most the size of a result", () => {
  const seen: (number | string)[] = [];
  const reply = bounded({
    deadlineMs: 5,
    result: (payload) => seen.push(payload.byteLength),
    failed: (error: CStoreError) => seen.push(error.code),
  });
  expect(reply.deadlineMs).toBe(5);
  reply.result(new Uint8Array(ANSWER_SIZE_MAX));
  reply.result(new Uint8Array(ANSWER_SIZE_MAX + 1));
  reply.failed(new QueryError("no"));
  expect(seen).toEqual([ANSWER_SIZE_MAX, "QUERY", "QUERY"]);
});
