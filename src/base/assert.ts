/**
 * Assertions: always on, for bugs only. Bytes, options and requests from outside get typed errors.
 *
 * @module
 */

/** A broken invariant: a bug in cstore. The process stops; it never runs on from such a state. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/**
 * Throws {@link AssertionError} unless `condition` holds. A costly message is given as a function.
 */
export function assert(condition: boolean, message: string | (() => string)): asserts condition {
  if (!condition) throw new AssertionError(typeof message === "string" ? message : message());
}

/** The end of an exhaustive `switch`: the compiler proves that it is never reached. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable value ${String(value)}`);
}
