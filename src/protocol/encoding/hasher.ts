/**
 * The functions of xxhash-wasm, loaded once, with this module. A build for `require`, which cannot
 * wait, puts another module in its place.
 *
 * @module
 */

import xxhash, { type XXHashAPI } from "xxhash-wasm";

/** The functions in use. */
export const hasher: Pick<XXHashAPI, "h32Raw" | "h64Raw" | "create64"> = await xxhash();
