/**
 * Assertions: what holds passes, what does not ends in an AssertionError with its message.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { AssertionError, assert, unreachable } from "../../src/base/assert.ts";

test("a condition that holds costs no message", () => {
  let made = 0;
  const message = (): string => {
    made += 1;
    return "made";
  };
  assert(true, message);
  expect(made).toBe(0);
  expect(() => assert(false, message)).toThrow(new AssertionError("made"));
  expect(made).toBe(1);
});

test("a broken one names itself and its message", () => {
  expect(() => assert(false, "one leads")).toThrow(AssertionError);
  expect(() => assert(false, "one leads")).toThrow("one leads");
  expect(() => unreachable("odd" as never)).toThrow("unreachable value odd");
});
