/**
 * `cstore cluster verify` against nodes in this process, one of whose states is changed behind the
 * log's back.
 *
 * @module
 */

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { type Seat, TestCluster, waitFor } from "../node/test_cluster.ts";
import { run } from "../system/program.ts";

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start(3);
  const database = await cluster.connect();
  for (const name of ["left", "right"]) {
    const documents = Array.from({ length: 300 }, (_, id) => ({ id, text: `document ${id}` }));
    await database.collection<{ id: number; text: string }>(name).insertMany(documents);
  }
});

afterAll(async () => {
  await cluster.stop();
});

function verify(...words: readonly string[]): ReturnType<typeof run> {
  return run(["cluster", "verify", "--address", cluster.addresses, ...words]);
}

/** A bit of the last byte of a document flips, as in a defective memory. */
function flip(seat: Seat, collection: string, id: number): void {
  const stores = [...(seat.node?.machine.collections() ?? [])];
  const store = stores.find(({ name }) => name === collection);
  if (store === undefined) throw new RangeError(`no collection ${collection}`);
  const key = encodeKey(id);
  const place = { start: 0, end: key.byteLength };
  const location = store.find(store.hash(key, place), key, place);
  const document = store.document(location);
  document[document.byteLength - 1]! ^= 1;
}

describe("cluster verify", () => {
  test("equal states: the same digest everywhere, code 0", async () => {
    await waitFor("all to have everything", () =>
      cluster.nodes.every(({ machine }) => machine.documentCount === 600),
    );
    const { code, stdout } = await verify("--deep");
    expect(code).toBe(0);
    expect(stdout).toStartWith("equal: the states of 3 of 3 members at entry ");
    expect(stdout.match(/[0-9a-f]{16} {2}600 {8}2$/gm)).toHaveLength(3);
  });

  test("one bit of one document on one node: code 1, the node, the collection, the id", async () => {
    const [seat] = await cluster.followers();
    if (seat === undefined) throw new RangeError("two followers");
    flip(seat, "right", 123);
    const shallow = await verify();
    expect(shallow.code).toBe(1);
    expect(shallow.stdout).toStartWith("different: the states of 3 of 3 members at entry ");
    const where = new RegExp(
      `^${seat.id} differs from n\\d in collection "right", 1 of 256 ranges`,
      "m",
    );
    expect(shallow.stdout).toMatch(where);
    const deep = await verify("--deep");
    expect(deep.code).toBe(1);
    expect(deep.stdout).toMatch(
      new RegExp(`^${seat.id} differs .*: document 123: n\\d has ver`, "m"),
    );
    const found = JSON.parse((await verify("--deep", "--json")).stdout);
    expect(found.equal).toBe(false);
    expect(found.differences).toHaveLength(1);
    const [{ members, difference, document }] = found.differences;
    expect(members[1]).toBe(seat.id);
    expect(difference).toMatchObject({ part: "collection", name: "right" });
    expect(document.id).toBe(123);
    const [usual, changed] = [document.versions[members[0]], document.versions[seat.id]];
    expect(changed.version).toBe(usual.version);
    expect(changed.hash).not.toBe(usual.hash);
    flip(seat, "right", 123);
    expect((await verify()).code).toBe(0);
  });
});
