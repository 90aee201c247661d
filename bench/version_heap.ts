/**
 * Memory of documents that every node writes, beside that of documents replicated by Raft: bytes a
 * document above an empty store, with and without incarnations that are over.
 * `bun bench/version_heap.ts`.
 *
 * @module
 */

import process from "node:process";
import { assert } from "../src/base/assert.ts";
import { encodeText } from "../src/base/bytes.ts";
import { CollectionStore } from "../src/database/collection/collection_store.ts";
import { VersionTable } from "../src/database/collection/version_table.ts";
import { EMPTY_SEED } from "../src/multi_master/config.ts";
import { MultiMaster } from "../src/multi_master/multi_master.ts";
import { type Agreement, FIRST_FLOOR } from "../src/multi_master/operation/agreement.ts";
import { sleep, systemClock } from "../src/platform/clock.ts";
import { encodeCbor } from "../src/protocol/encoding/cbor.ts";
import { OperationChecksum } from "../src/protocol/operations/operation_checksum.ts";
import { VERSION_CODEC } from "../src/protocol/operations/version_codec.ts";

const DOCUMENTS = 200_000;
const INCARNATIONS = 200;
const GOAL = 1.3;

function documentOf(n: number): Uint8Array {
  return encodeCbor({ id: `d${n}`, n, text: "x".repeat(190), tail: `y${n}` });
}

async function heldBytes(): Promise<number> {
  await sleep(systemClock, 500);
  for (let i = 0; i < 4; i += 1) Bun.gc(true);
  return process.memoryUsage().heapUsed;
}

function byRaft(): CollectionStore {
  const store = new CollectionStore("heap", 1);
  for (let n = 0; n < DOCUMENTS; n += 1) {
    const [key, body] = [encodeText(`d${n}`), documentOf(n)];
    const bytes = new Uint8Array(key.byteLength + body.byteLength);
    bytes.set(key);
    bytes.set(body, key.byteLength);
    const place = { hash: store.hash(bytes, { start: 0, end: key.byteLength }), before: -1 };
    const source = { bytes, start: 0, keyEnd: key.byteLength, end: bytes.byteLength };
    store.putForGood(place, source, n + 1);
  }
  return store;
}

/** @param incarnations that are over and retired. */
function byEveryNode(incarnations: number): MultiMaster {
  const over = Array.from({ length: incarnations }, (_, i): [string, { version: 1; end: 1 }] => {
    return [`n3/${i}`, { version: 1, end: 1 }];
  });
  const agreement: Agreement = {
    version: 1,
    origins: new Map(["n1", "n2", "n3"].map((id) => [id, `${id}/new`])),
    closed: new Map(),
    retired: new Map(over),
    floor: FIRST_FLOOR,
    collections: new Map([[1, { strategy: "last-write-wins" }]]),
  };
  const sums = new OperationChecksum();
  const master = new MultiMaster(
    {
      ...{ node: "n1", origin: "n1/new", driftMaxMs: 500, pullTicks: 1, waitTicks: 100 },
      ...{ messageBytes: 16_384, windowBytes: 65_536, resolvers: new Map() },
      codec: VERSION_CODEC,
      checksum: (operation, previous) => sums.of(operation, previous),
    },
    agreement,
    {
      ...{ store: new VersionTable(1), seed: EMPTY_SEED, operations: [] },
      log: { read: () => ({ kind: "loading" }) },
    },
  );
  for (let n = 0; n < DOCUMENTS; n += 1) {
    const document = { collection: 1, key: encodeText(`d${n}`), body: documentOf(n) };
    assert(master.write({ documents: [document] }, 1).kind === "written", "it is written");
    if (n % 64 !== 63) continue;
    for (let ready = master.takeReady(); ready !== undefined; ready = master.takeReady()) {
      master.persisted(ready.number);
    }
  }
  return master;
}

/** Bytes a document of what `make` makes, which lives until they are counted. */
async function bytesOf(make: () => object): Promise<number> {
  const before = await heldBytes();
  const made = [make()];
  const bytes = ((await heldBytes()) - before) / DOCUMENTS;
  made.length = 0;
  return Math.round(bytes);
}

const raft = await bytesOf(byRaft);
const some = await bytesOf(() => byEveryNode(0));
const many = await bytesOf(() => byEveryNode(INCARNATIONS));
const ratio = Math.max(some, many) / raft;
console.log(
  JSON.stringify({
    ...{ documents: DOCUMENTS, encodedBytes: documentOf(0).byteLength, raft },
    ...{ everyNode: some, [`with${INCARNATIONS}Incarnations`]: many },
    ...{ ratio: Number(ratio.toFixed(2)), goal: GOAL, isReached: ratio <= GOAL },
  }),
);
