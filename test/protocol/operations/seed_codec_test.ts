/**
 * A node's state of collections that every node writes, as blocks.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { FrozenSeed, Seed } from "../../../src/multi_master/config.ts";
import type { StoredDocument } from "../../../src/multi_master/document/version_store.ts";
import type { DocumentVersion } from "../../../src/multi_master/operation/operation.ts";
import { SeededRandom } from "../../../src/platform/random.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import { encodeOperation } from "../../../src/protocol/operations/operation_codec.ts";
import { SeedReader, seedBlocks } from "../../../src/protocol/operations/seed_codec.ts";

const STAMP = { wallMs: 1_700_000_000_000, count: 3 };
const KEY = Uint8Array.of(1, 2);
const BODY = encodeCbor({ id: "a", n: 1 }).slice();
const DOT = { origin: "n1/a", sequence: 4 };
const PLAIN: DocumentVersion = {
  ...{ dot: DOT, stamp: STAMP, context: new Map(), version: 0, chain: 7 },
  content: { kind: "document", body: BODY },
};
const DOCUMENTS: readonly StoredDocument[] = [
  { collection: 1, key: KEY, versions: [PLAIN] },
  {
    ...{ collection: 2, key: KEY },
    versions: [
      { ...PLAIN, content: { kind: "removed" }, removals: [DOT] },
      {
        ...PLAIN,
        ...{ version: 9, context: new Map([["n2/b", 5]]), isPruned: true },
        seen: { version: 8, cursor: new Map([["n2/b", 4]]) },
        content: {
          ...{ kind: "document", body: BODY },
          marks: {
            rest: { dot: DOT, stamp: STAMP },
            parts: [{ field: "n", dot: DOT, stamp: STAMP }],
          },
        },
      },
    ],
  },
];
const NOTED = {
  ...DOT,
  request: { session: "s", number: 5, answered: 4, isRepeat: true },
  documents: [{ collection: 1, key: KEY }],
};
const SEED: Seed = {
  ...{ cursor: new Map([["n1/a", 4]]), version: 9, chains: new Map([["n1/a", 7]]) },
  ...{ lastStamp: STAMP, forgotten: { round: 2, floor: new Map([["n1/a", 1]]) } },
  requests: { noted: [NOTED], repeated: [[NOTED, { ...NOTED, origin: "n2/b" }]] },
  bases: [
    {
      ...{ ...DOT, collection: 1, key: KEY, isPassed: true },
      content: { kind: "document", body: BODY },
    },
  ],
};
const OPERATION = {
  ...{ ...DOT, stamp: STAMP, context: new Map(), version: 9, chain: 7 },
  changes: [{ collection: 1, key: KEY, content: { kind: "document", body: BODY } as const }],
};

function blocks(documents = DOCUMENTS): readonly Uint8Array[] {
  const seed: FrozenSeed = {
    ...SEED,
    ...{ afterReady: 0, documents: () => documents.values(), release: () => undefined },
  };
  return [...seedBlocks(seed, [encodeOperation(OPERATION)])];
}

function read(from: readonly Uint8Array[]) {
  const documents: StoredDocument[] = [];
  const operations: unknown[] = [];
  const reader = new SeedReader({
    document: (document) => documents.push(document),
    operations: (some) => operations.push(...some),
  });
  for (const block of from) reader.block(block);
  return { seed: reader.end(), documents, operations };
}

test("a state comes back as it was, with the operations that go with it", () => {
  const { seed, documents, operations } = read(blocks());
  expect(seed).toEqual(SEED);
  expect(documents).toEqual([...DOCUMENTS]);
  expect(operations).toEqual([OPERATION]);
});

test("large states are cut into blocks of a bounded size", () => {
  const body = new Uint8Array(60_000).fill(1);
  const many = Array.from({ length: 100 }, (_, i): StoredDocument => {
    const content = { kind: "document", body } as const;
    return { collection: 1, key: Uint8Array.of(1, i), versions: [{ ...PLAIN, content }] };
  });
  const cut = blocks(many);
  expect(cut.length).toBeGreaterThan(10);
  expect(read(cut).documents).toHaveLength(100);
});

describe("hostile blocks", () => {
  test("without a head, or of an unknown type", () => {
    expect(() => read([])).toThrow("its head is missing");
    expect(() => read([Uint8Array.of(9, 0x80)])).toThrow("type is unknown");
  });

  test("any part that is missing or of another type is refused, or read as what it is", () => {
    const random = new SeededRandom(5);
    let refused = 0;
    for (let round = 0; round < 3000; round += 1) {
      const from = blocks().map((block) => block.slice());
      const block = from[random.below(from.length)]!;
      block[random.below(block.byteLength)] = random.below(256);
      try {
        read(from);
      } catch (error) {
        const { code } = error as { code?: string };
        expect(["PROTOCOL", "VALIDATION"]).toContain(String(code));
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(1000);
  });

  test("a head with checksums of unknown origins", () => {
    const [head] = blocks();
    const fields = decodeUntrustedCbor(head!.slice(1)) as object;
    const broken = encodeCbor({ ...fields, cursor: [] });
    const block = new Uint8Array(broken.byteLength + 1);
    block.set([1]);
    block.set(broken, 1);
    expect(() => read([block])).toThrow("unknown origins");
  });
});
