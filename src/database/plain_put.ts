/**
 * Reads runs of the commonest command, one unconditional put in a session, into objects that are
 * used again for the next run.
 *
 * @module
 */

import { EMPTY_BYTES, readU64 } from "../base/bytes.ts";
import {
  COMMAND_HEADER_SIZE,
  COMMAND_KINDS,
  type CommandHeader,
  isPlainPut,
  OPERATION_HEADER_SIZE,
  OPERATION_KINDS,
} from "../protocol/encoding/command.ts";
import { holdsKey } from "../protocol/encoding/document_key.ts";
import type { CollectionStore } from "./collection/collection_store.ts";
import { LOOK_AHEAD_MAX } from "./collection/key_index.ts";
import type { SessionRequest } from "./session_table.ts";

const DOCUMENTS = COMMAND_KINDS.indexOf("DOCUMENTS");
const PUT = OPERATION_KINDS.indexOf("PUT");
/** Shorter runs gain nothing from looking ahead. */
const AHEAD_MIN = 4;

/** One plain put. */
export class PlainPut implements SessionRequest {
  commands: Uint8Array = EMPTY_BYTES;
  nowMs = 0;
  hash = 0;
  sessionId = 0;
  requestNumber = 0;
  acknowledgedBelow = 0;
  checksum = 0;
  readonly isSmall = true;
  /** Where the command ends. */
  end = 0;
  readonly key = { start: 0, end: 0 };
  readonly source = { bytes: EMPTY_BYTES as Uint8Array, start: 0, keyEnd: 0, end: 0 };
  #view: DataView = new DataView(new ArrayBuffer(0));

  start(commands: Uint8Array, view: DataView, nowMs: number): this {
    this.commands = commands;
    this.source.bytes = commands;
    this.nowMs = nowMs;
    this.#view = view;
    return this;
  }

  /**
   * Reads the command at `at`; false when it is not a plain put into the collection of that name.
   */
  read(at: number, name: Uint8Array): boolean {
    const view = this.#view;
    const { commands } = this;
    if (view.getUint8(at + 4) !== DOCUMENTS || view.getUint16(at + 6, true) !== 1) return false;
    const nameStart = at + COMMAND_HEADER_SIZE + 1;
    const nameSize = view.getUint8(nameStart - 1);
    if (nameSize !== name.byteLength) return false;
    for (let i = 0; i < nameSize; i += 1) if (commands[nameStart + i] !== name[i]) return false;
    const operation = nameStart + nameSize;
    if (view.getUint16(operation, true) !== PUT) return false;
    this.sessionId = readU64(view, at + 8);
    if (this.sessionId === 0) return false;
    this.requestNumber = readU64(view, at + 16);
    this.acknowledgedBelow = readU64(view, at + 24);
    this.end = at + view.getUint32(at, true);
    this.checksum = bodyChecksum(view, at + COMMAND_HEADER_SIZE, this.end);
    const { key, source } = this;
    key.start = operation + OPERATION_HEADER_SIZE;
    key.end = key.start + view.getUint16(operation + 2, true);
    source.start = key.start;
    source.keyEnd = key.end;
    source.end = this.end;
    return true;
  }

  get documentSize(): number {
    return this.source.end - this.source.keyEnd;
  }

  /** Whether the document holds its key. */
  get holdsKey(): boolean {
    const { bytes, start, keyEnd, end } = this.source;
    return holdsKey({ bytes, start: keyEnd, end }, { bytes, start, end: keyEnd });
  }
}

/**
 * A run of plain puts into one collection. The keys of a run are looked up together, which changes
 * nothing: the processor fetches the places of all of them from memory at the same time, where one
 * by one each put would wait for its own.
 */
export class PlainPutRun {
  readonly #puts = Array.from({ length: LOOK_AHEAD_MAX }, () => new PlainPut());
  readonly #hashes = new Int32Array(LOOK_AHEAD_MAX);
  #end = 0;
  #count = 0;
  #next = 0;

  /** Prepares for a batch's commands, up to the byte `end`. */
  start(commands: Uint8Array, view: DataView, nowMs: number): void {
    for (const put of this.#puts) put.start(commands, view, nowMs);
    this.#end = commands.byteLength;
    this.forget();
  }

  /** Forgets the puts read ahead: another command came between. */
  forget(): void {
    this.#count = 0;
    this.#next = 0;
  }

  /** The plain put at `at` into that collection; undefined when there is another command. */
  take(at: number, store: CollectionStore, name: Uint8Array): PlainPut | undefined {
    if (this.#next === this.#count) this.#readAhead(at, store, name);
    if (this.#next === this.#count) return undefined;
    const put = this.#puts[this.#next]!;
    this.#next += 1;
    return put;
  }

  #readAhead(start: number, store: CollectionStore, name: Uint8Array): void {
    let count = 0;
    let at = start;
    while (count < LOOK_AHEAD_MAX && at < this.#end) {
      const put = this.#puts[count]!;
      if (!put.read(at, name)) break;
      put.hash = store.hash(put.commands, put.key);
      this.#hashes[count] = put.hash;
      at = put.end;
      count += 1;
    }
    if (count >= AHEAD_MIN) store.lookAhead(this.#hashes, count);
    this.#count = count;
    this.#next = 0;
  }
}

/**
 * 32 bits that tell a command's body from another: FNV-1a over little-endian words, then over the
 * bytes that are left, with a final mix. It guards against a client's mistake, not against damage
 * or malice, and a short loop is cheaper than a call into WASM.
 */
export function bodyChecksum(view: DataView, start: number, end: number): number {
  let hash = 0x811c9dc5;
  let at = start;
  for (; at + 4 <= end; at += 4) {
    hash = Math.imul(hash ^ view.getInt32(at, true), 0x01000193);
    // A multiplication alone carries nothing downwards: high bits of a word would be lost.
    hash ^= hash >>> 15;
  }
  for (; at < end; at += 1) hash = Math.imul(hash ^ view.getUint8(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 12)) >>> 0;
}

/** The request that a command makes in its session. */
export function sessionRequest(view: DataView, at: number, command: CommandHeader): SessionRequest {
  const { sessionId, requestNumber, acknowledgedBelow, size } = command;
  const checksum = bodyChecksum(view, at + COMMAND_HEADER_SIZE, at + size);
  return { sessionId, requestNumber, acknowledgedBelow, checksum, isSmall: isPlainPut(view, at) };
}
