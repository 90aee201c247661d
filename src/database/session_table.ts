/**
 * Applied request numbers and results of each session, in a window: what makes a repeated request
 * harmless (thesis §6.3). Part of the replicated state: the same on every node at the same index.
 *
 * The table keeps every number above `acknowledgedBelow`, not only the last one: with several
 * requests in flight, a later one may be applied while an earlier one was refused before the log
 * and comes again.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { ByteReader, ByteWriter } from "../base/bytes.ts";
import type { CStoreError } from "../base/errors.ts";
import { SESSION_RESULT_BYTES_MAX, SESSION_WINDOW_MAX, SESSIONS_MAX } from "../base/limits.ts";

const FIRST_CAPACITY = 16;
const WRITTEN = 1;
const PAYLOAD = 2;
const REFUSED = 3;

/** A request's stored result. */
export type StoredResult =
  | { readonly kind: "written"; readonly version: number }
  | { readonly kind: "payload"; readonly payload: Uint8Array }
  | {
      readonly kind: "refused";
      /** Stored: number, version and message. */
      readonly refusal: Uint8Array;
      /** Only on the result of an execution, not stored: the error with its fields. */
      readonly error?: CStoreError;
    };

/** The table's verdict on a request before it is executed. */
export type Admission =
  | { readonly verdict: "new" }
  | { readonly verdict: "repeat"; readonly result: StoredResult }
  | { readonly verdict: "unknown session" }
  | { readonly verdict: "acknowledged" }
  | { readonly verdict: "other bytes" }
  | { readonly verdict: "window full" };

const NEW: Admission = { verdict: "new" };

/** One client's requests above `acknowledgedBelow`. */
class Session {
  readonly id: number;
  acknowledgedBelow = 1;
  lastActiveMs: number;
  numbers = new Float64Array(FIRST_CAPACITY);
  versions = new Float64Array(FIRST_CAPACITY);
  checksums = new Uint32Array(FIRST_CAPACITY);
  kinds = new Uint8Array(FIRST_CAPACITY);
  readonly payloads = new Map<number, Uint8Array>();
  payloadBytes = 0;

  constructor(id: number, nowMs: number) {
    this.id = id;
    this.lastActiveMs = nowMs;
  }

  slot(requestNumber: number): number {
    // A power of two, so that a mask does what a remainder of doubles needs the C library for.
    return requestNumber & (this.numbers.length - 1);
  }

  has(requestNumber: number): boolean {
    return this.numbers[this.slot(requestNumber)] === requestNumber;
  }

  acknowledge(below: number): void {
    const end = Math.min(below, this.acknowledgedBelow + this.numbers.length);
    for (let number = this.acknowledgedBelow; number < end; number += 1) {
      const slot = this.slot(number);
      if (this.numbers[slot] !== number) continue;
      this.numbers[slot] = 0;
      const payload = this.payloads.get(number);
      if (payload === undefined) continue;
      this.payloadBytes -= payload.byteLength;
      this.payloads.delete(number);
    }
    this.acknowledgedBelow = below;
  }

  growFor(requestNumber: number): void {
    let capacity = this.numbers.length;
    while (requestNumber - this.acknowledgedBelow >= capacity) capacity *= 2;
    if (capacity === this.numbers.length) return;
    assert(capacity <= SESSION_WINDOW_MAX, "the window bounds the table");
    const { numbers, versions, checksums, kinds } = this;
    this.numbers = new Float64Array(capacity);
    this.versions = new Float64Array(capacity);
    this.checksums = new Uint32Array(capacity);
    this.kinds = new Uint8Array(capacity);
    for (let old = 0; old < numbers.length; old += 1) {
      const number = numbers[old]!;
      if (number === 0) continue;
      const slot = this.slot(number);
      this.numbers[slot] = number;
      this.versions[slot] = versions[old]!;
      this.checksums[slot] = checksums[old]!;
      this.kinds[slot] = kinds[old]!;
    }
  }
}

/** A request as the table knows it. */
export interface SessionRequest {
  readonly sessionId: number;
  readonly requestNumber: number;
  readonly acknowledgedBelow: number;
  /** Checksum of the command's body: a repeat with other bytes is refused. */
  readonly checksum: number;
  /** Its result takes no room: the bound for results is not its concern. */
  readonly isSmall?: boolean;
}

/** All sessions of a cluster. */
export class SessionTable {
  readonly #sessions = new Map<number, Session>();

  get size(): number {
    return this.#sessions.size;
  }

  open(id: number, nowMs: number): void {
    assert(!this.#sessions.has(id), "session ids are sequence numbers, so they are new");
    this.#sessions.set(id, new Session(id, nowMs));
  }

  close(id: number): void {
    this.#sessions.delete(id);
  }

  /** Decides about a request without changing anything. */
  admit(request: SessionRequest): Admission {
    const session = this.#sessions.get(request.sessionId);
    if (session === undefined) return { verdict: "unknown session" };
    const { requestNumber } = request;
    const below = Math.max(session.acknowledgedBelow, request.acknowledgedBelow);
    if (requestNumber < below) return { verdict: "acknowledged" };
    if (requestNumber >= below + SESSION_WINDOW_MAX) return { verdict: "window full" };
    if (!session.has(requestNumber)) {
      // The oldest is let in always: until it is answered nothing behind it can be acknowledged.
      const needsRoom = request.isSmall !== true && requestNumber > below;
      const isFull = needsRoom && session.payloadBytes > SESSION_RESULT_BYTES_MAX;
      return isFull ? { verdict: "window full" } : NEW;
    }
    const slot = session.slot(requestNumber);
    if (session.checksums[slot] !== request.checksum) return { verdict: "other bytes" };
    return { verdict: "repeat", result: storedResult(session, slot, requestNumber) };
  }

  /**
   * Whether a small request will be executed whenever it is applied within a while: its session was
   * active since that time, and is not among too many.
   */
  isSafe(request: SessionRequest, sinceMs: number): boolean {
    const session = this.#sessions.get(request.sessionId);
    if (session === undefined || session.lastActiveMs < sinceMs) return false;
    return this.#sessions.size <= SESSIONS_MAX / 2 && this.admit(request).verdict === "new";
  }

  /** Moves the window on, in apply, before the request is executed. */
  acknowledge(request: SessionRequest, nowMs: number): void {
    const session = this.#sessions.get(request.sessionId);
    if (session === undefined) return;
    session.lastActiveMs = Math.max(session.lastActiveMs, nowMs);
    if (request.acknowledgedBelow > session.acknowledgedBelow) {
      session.acknowledge(request.acknowledgedBelow);
    }
  }

  /** Keeps the result of a request that was admitted as new and executed. */
  store(request: SessionRequest, result: StoredResult): void {
    if (result.kind === "written") {
      this.storeWritten(request, result.version);
      return;
    }
    const session = this.#take(request);
    const { requestNumber } = request;
    const slot = session.slot(requestNumber);
    const bytes = result.kind === "payload" ? result.payload : result.refusal;
    session.kinds[slot] = result.kind === "payload" ? PAYLOAD : REFUSED;
    // The slot's earlier user left its version, which would make the encoded tables of nodes
    // differ.
    session.versions[slot] = 0;
    session.payloads.set(requestNumber, bytes);
    session.payloadBytes += bytes.byteLength;
  }

  /** The same for a single write. */
  storeWritten(request: SessionRequest, version: number): void {
    const session = this.#take(request);
    const slot = session.slot(request.requestNumber);
    session.kinds[slot] = WRITTEN;
    session.versions[slot] = version;
  }

  /** The session, with the request's slot taken. */
  #take(request: SessionRequest): Session {
    const session = this.#sessions.get(request.sessionId);
    assert(session !== undefined, "the request was admitted");
    const { requestNumber } = request;
    session.growFor(requestNumber);
    const slot = session.slot(requestNumber);
    assert(session.numbers[slot] === 0, "a result is stored once");
    session.numbers[slot] = requestNumber;
    session.checksums[slot] = request.checksum;
    return session;
  }

  /** Sessions that were idle since `beforeMs`, and the longest idle ones above `sessionsMax`. */
  expired(beforeMs: number, sessionsMax: number): number[] {
    const all = [...this.#sessions.values()].sort((a, b) => a.lastActiveMs - b.lastActiveMs);
    const tooMany = Math.max(0, all.length - sessionsMax);
    return all.filter((s, rank) => rank < tooMany || s.lastActiveMs < beforeMs).map((s) => s.id);
  }

  /** The whole table as bytes, in order of id. */
  encode(): Uint8Array {
    const writer = new ByteWriter(1024).u32(this.#sessions.size);
    const sessions = [...this.#sessions.values()].sort((a, b) => a.id - b.id);
    for (const session of sessions) encodeSession(writer, session);
    return writer.copy();
  }

  /** Replaces the table by encoded bytes. */
  restore(bytes: Uint8Array): void {
    this.#sessions.clear();
    const reader = new ByteReader(bytes);
    for (let count = reader.u32(); count > 0; count -= 1) {
      const session = new Session(reader.u64(), 0);
      session.acknowledgedBelow = reader.u64();
      session.lastActiveMs = reader.u64();
      this.#sessions.set(session.id, session);
      for (let results = reader.u32(); results > 0; results -= 1)
        this.#restoreResult(reader, session);
    }
    reader.end();
  }

  #restoreResult(reader: ByteReader, session: Session): void {
    const requestNumber = reader.u64();
    const checksum = reader.u32();
    const kind = reader.u8();
    const version = reader.u64();
    const payload = new Uint8Array(reader.take(reader.u32()));
    const request = { sessionId: session.id, requestNumber, acknowledgedBelow: 0, checksum };
    if (kind === WRITTEN) this.store(request, { kind: "written", version });
    else if (kind === PAYLOAD) this.store(request, { kind: "payload", payload });
    else this.store(request, { kind: "refused", refusal: payload });
  }
}

function storedResult(session: Session, slot: number, requestNumber: number): StoredResult {
  if (session.kinds[slot] === WRITTEN) return { kind: "written", version: session.versions[slot]! };
  const bytes = session.payloads.get(requestNumber);
  assert(bytes !== undefined, "a stored result has its bytes");
  if (session.kinds[slot] === PAYLOAD) return { kind: "payload", payload: bytes };
  return { kind: "refused", refusal: bytes };
}

function encodeSession(writer: ByteWriter, session: Session): void {
  writer.u64(session.id).u64(session.acknowledgedBelow).u64(session.lastActiveMs);
  const numbers = [...session.numbers].filter((number) => number !== 0).sort((a, b) => a - b);
  writer.u32(numbers.length);
  for (const number of numbers) {
    const slot = session.slot(number);
    const payload = session.payloads.get(number);
    writer.u64(number).u32(session.checksums[slot]!).u8(session.kinds[slot]!);
    writer.u64(session.versions[slot]!).u32(payload?.byteLength ?? 0);
    if (payload !== undefined) writer.raw(payload);
  }
}
