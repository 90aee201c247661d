/**
 * Entries from another node: what could not be applied is refused before it is in the log.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { type PreparedBatch, sealBatch } from "../../../src/protocol/encoding/batch_codec.ts";
import { membershipBatch, noopBatch } from "../../../src/protocol/encoding/cluster_command.ts";
import type { Member } from "../../../src/raft/configuration.ts";
import { validateEntries } from "../../../src/replication/raft/entry_validation.ts";

const PLACE = { term: 7, index: 5, firstSequence: 42 };

function validate(batch: PreparedBatch): void {
  validateEntries([{ ...PLACE, count: 1, bytes: sealBatch(batch, PLACE) }]);
}

function members(...given: readonly Partial<Member>[]): PreparedBatch {
  const member = { id: "n1", address: "127.0.0.1:7001", role: "voter", incarnation: "" } as const;
  return membershipBatch(
    given.map((one) => ({ ...member, ...one })),
    0,
  );
}

test("members that can be are taken, with and without an address", () => {
  validate(members({}, { id: "n2", role: "learner" }));
  validate(members({ address: "" }));
  validate(noopBatch());
});

test.each([
  ["no voter", members({ role: "learner" }), "no voter"],
  ["an id with a slash", members({ id: "a/b" }), "node id"],
  ["an address without a port", members({ address: "host" }), "HOST:PORT"],
])("%s is refused", (_name, batch, text) => {
  expect(() => validate(batch)).toThrow(text);
  expect(() => validate(batch)).toThrow(expect.objectContaining({ code: "PROTOCOL" }));
});
