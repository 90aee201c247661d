import { expect, test } from "bun:test";
import { CollectionStore } from "../../../src/database/collection/collection_store.ts";

/** A key and behind it a document, as they stand in a command. */
function source(key: string, document: string) {
  const bytes = new TextEncoder().encode(`..${key}${document}..`);
  const keyEnd = 2 + key.length;
  return { bytes, start: 2, keyEnd, end: keyEnd + document.length };
}

function put(store: CollectionStore, record: ReturnType<typeof source>, sequence: number): void {
  const key = { start: record.start, end: record.keyEnd };
  const hash = store.hash(record.bytes, key);
  const before = store.find(hash, record.bytes, key);
  store.putForGood({ hash, before }, record, sequence);
}

function contents(store: CollectionStore, sequence: number): string[] {
  const frozen = store.freeze(sequence);
  const records = [...store.frozenRecords(frozen)].map(({ key, document, version }) => {
    return `${new TextDecoder().decode(key)}=${new TextDecoder().decode(document)}@${version}`;
  });
  store.thaw(frozen);
  return records.sort();
}

test("overwrite: documents of the same size take no more room", () => {
  const store = new CollectionStore("c", 1);
  put(store, source("a", "one"), 1);
  put(store, source("b", "ONE"), 2);
  const bytes = store.bytes;
  for (let sequence = 3; sequence < 5000; sequence += 1) {
    put(store, source("a", String(sequence % 1000).padStart(3, "0")), sequence);
  }

  expect(contents(store, 5000)).toEqual(["a=999@4999", "b=ONE@2"]);
  expect(store.bytes).toBe(bytes);
});

test("overwrite: another size moves the document", () => {
  const store = new CollectionStore("c", 1);
  put(store, source("a", "one"), 1);
  put(store, source("a", "three"), 2);
  put(store, source("a", "six"), 3);

  expect(contents(store, 3)).toEqual(["a=six@3"]);
  expect(store.count).toBe(1);
});

// Seen to fail when `overwrite` does not look whether a moment is frozen.
test("overwrite: a frozen moment keeps what it showed", () => {
  const store = new CollectionStore("c", 1);
  put(store, source("a", "one"), 1);
  const frozen = store.freeze(1);
  put(store, source("a", "two"), 2);

  const shown = [...store.frozenRecords(frozen)].map((r) => new TextDecoder().decode(r.document));
  store.thaw(frozen);
  expect(shown).toEqual(["one"]);
  expect(contents(store, 2)).toEqual(["a=two@2"]);
});
