/**
 * Digests of a state: frozen at a DIGEST entry, answered from there, and for that entry only.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { systemClock } from "../../src/platform/clock.ts";
import { decodeKey } from "../../src/protocol/encoding/document_key.ts";
import { StateVerifier } from "../../src/server/state_verifier.ts";
import { consensus, Machine } from "../database/machine.ts";

function digested() {
  const machine = new Machine();
  const verifier = new StateVerifier(systemClock, machine.state);
  machine.one(["PUT", "a", { id: "a" }]);
  machine.apply(consensus("DIGEST", () => undefined));
  return { machine, verifier, index: machine.state.appliedIndex };
}

test("two equal states have equal digests, and later writes do not show", async () => {
  const [one, two] = [digested(), digested()];
  two.machine.one(["PUT", "b", { id: "b" }]);
  const request = { action: "digest", index: one.index } as const;
  const [a, b] = await Promise.all([one.verifier.answer(request), two.verifier.answer(request)]);
  expect(a).toEqual(b);
  expect(a).toMatchObject({ index: 2, collections: [{ name: "c", count: 1 }] });
  one.verifier.stop();
  two.verifier.stop();
});

test("the documents of all ranges are those of the state", async () => {
  const { verifier, index } = digested();
  const ranges = Array.from({ length: 256 }, (_, range) => range);
  const replies = await Promise.all(
    ranges.map((range) => verifier.answer({ action: "documents", index, collection: "c", range })),
  );
  const found = replies.flatMap((reply) => ("documents" in reply ? reply.documents : []));
  expect(found.map(({ key, version }) => [decodeKey(key), version])).toEqual([["a", 1]]);
  const beyond = { action: "documents", index, collection: "c", range: 256 } as const;
  await expect(verifier.answer(beyond)).rejects.toMatchObject({ code: "VALIDATION" });
  verifier.stop();
});

test("a digest that is not kept, or was taken away, is not found", async () => {
  const { machine, verifier, index } = digested();
  const early = verifier.answer({ action: "digest", index: index - 1 });
  await expect(early).rejects.toMatchObject({ code: "NOT_FOUND" });
  machine.apply(consensus("DIGEST", () => undefined));
  const overtaken = verifier.answer({ action: "digest", index });
  await expect(overtaken).rejects.toMatchObject({ code: "NOT_FOUND" });
  verifier.stop();
  const stopped = verifier.answer({ action: "digest", index: index + 1 });
  await expect(stopped).rejects.toMatchObject({ code: "NOT_FOUND" });
});
