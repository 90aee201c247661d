/**
 * Merges a change into a document, on the encoded bytes: what does not change is copied as it is,
 * so every node gets the same bytes whatever its encoder would write. Maps are merged recursively;
 * everything else, arrays too, is replaced.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteWriter } from "../../base/bytes.ts";
import { readHead, skipItem } from "../../protocol/encoding/cbor_walk.ts";

/** Gives each key as a text of its own; all bytes were checked to be UTF-8. */
const TEXT_DECODER = new TextDecoder("utf-8", { ignoreBOM: true });

interface MapEntry {
  /** The key, so that its form does not matter. */
  readonly key: string;
  /** The key with its header. */
  readonly rawKey: Uint8Array;
  readonly value: Uint8Array;
}

/** The merged document. Both are maps that passed the gate. */
export function mergeDocuments(document: Uint8Array, change: Uint8Array): Uint8Array {
  const writer = new ByteWriter(document.byteLength + change.byteLength + 8);
  mergeMaps(writer, document, change);
  return writer.copy();
}

function mergeMaps(writer: ByteWriter, base: Uint8Array, change: Uint8Array): void {
  const entries = readEntries(base);
  const changes = readEntries(change);
  // By key, because both sides may have a hundred thousand. Of a key that stands twice the last
  // counts, as for every reader.
  const changed = new Map(changes.map((entry) => [entry.key, entry.value]));
  const known = new Set(entries.map((entry) => entry.key));
  const added = changes.filter((entry) => !known.has(entry.key));
  writeMapHeader(writer, entries.length + added.length);
  for (const entry of entries) {
    const value = changed.get(entry.key);
    writer.raw(entry.rawKey);
    if (value === undefined) writer.raw(entry.value);
    else if (isMap(entry.value) && isMap(value)) mergeMaps(writer, entry.value, value);
    else writer.raw(value);
  }
  for (const entry of added) writer.raw(entry.rawKey).raw(entry.value);
}

function isMap(value: Uint8Array): boolean {
  return value[0]! >> 5 === 5;
}

function writeMapHeader(writer: ByteWriter, size: number): void {
  if (size < 24) writer.u8(0xa0 | size);
  else if (size < 0x1_0000)
    writer
      .u8(0xb9)
      .u8(size >> 8)
      .u8(size & 0xff);
  else
    writer
      .u8(0xba)
      .u8(size >>> 24)
      .u8((size >> 16) & 0xff)
      .u8((size >> 8) & 0xff)
      .u8(size & 0xff);
}

function readEntries(map: Uint8Array): MapEntry[] {
  const header = readHead(map, 0);
  assert(header.major === 5, "a document is a map");
  const entries: MapEntry[] = [];
  let at = header.end;
  for (let i = 0; i < header.value; i += 1) {
    const keyHeader = readHead(map, at);
    const keyEnd = keyHeader.end + keyHeader.value;
    const valueEnd = skipItem(map, keyEnd);
    const key = TEXT_DECODER.decode(map.subarray(keyHeader.end, keyEnd));
    entries.push({ key, rawKey: map.subarray(at, keyEnd), value: map.subarray(keyEnd, valueEnd) });
    at = valueEnd;
  }
  return entries;
}
