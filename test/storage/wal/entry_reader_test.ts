/**
 * Entries read back from their places: whole, or refused with file and byte.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { CorruptionError } from "../../../src/base/errors.ts";
import { UNCOMPRESSED } from "../../../src/protocol/encoding/batch_codec.ts";
import { operationsIn, readEntryAt } from "../../../src/storage/wal/entry_reader.ts";
import { diskOf, entryAt } from "../log_fixture.ts";

const ENTRY = entryAt({ term: 2, index: 5, firstSequence: 9 }, ["a", "b", "c"]);
const AT = 100;

/** The entry at byte 100 of a file, changed by `damage`. */
function readBack(id = { term: 2, index: 5 }, damage: (bytes: Uint8Array) => void = () => {}) {
  const disk = diskOf(1);
  const bytes = new Uint8Array(AT + ENTRY.bytes.byteLength + 50);
  bytes.set(ENTRY.bytes, AT);
  damage(bytes);
  disk.writeFile("data/segment", bytes);
  const position = { segmentNumber: 1, at: AT, size: ENTRY.bytes.byteLength };
  try {
    return readEntryAt(disk.files, "data/segment", { id, position });
  } finally {
    expect(disk.openFiles).toEqual([]);
  }
}

describe("an entry", () => {
  test("comes back as it was written", () => {
    expect(readBack()).toEqual(ENTRY);
  });

  test("of which any byte differs is refused, naming its place", () => {
    for (let at = 0; at < ENTRY.bytes.byteLength; at += 1) {
      const flip = (bytes: Uint8Array): void => {
        bytes[AT + at]! ^= 1;
      };
      expect(() => readBack(undefined, flip)).toThrow(CorruptionError);
    }
    const zero = (bytes: Uint8Array): void => void bytes.fill(0);
    expect(() => readBack(undefined, zero)).toThrow("Cannot read entry 5: Cannot read batch:");
    try {
      readBack(undefined, zero);
    } catch (error) {
      expect(error).toMatchObject({ file: "data/segment", byte: AT });
    }
  });

  // History: a whole batch was taken for the wanted entry, whichever it was.
  test.each([
    { term: 2, index: 4 },
    { term: 1, index: 5 },
  ])("is not taken for another one: %j", (id) => {
    expect(() => readBack(id)).toThrow("entry 5 of term 2 stands there");
  });
});

test("operations from a sequence number on", () => {
  for (const [from, expected] of [
    [0, ["a", "b", "c"]],
    [9, ["a", "b", "c"]],
    [10, ["b", "c"]],
    [11, ["c"]],
    [12, []],
  ] as const) {
    const found = operationsIn(ENTRY, from, UNCOMPRESSED.compressor);
    expect(found.map(({ data }) => data.newValue)).toEqual([...expected]);
  }
});
