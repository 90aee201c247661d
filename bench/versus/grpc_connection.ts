/**
 * As much of gRPC over HTTP/2 as unary calls with small messages need, written by hand over a
 * socket so that the load process stays cheap: many streams at a time on one connection, the calls
 * of one turn leave with one write. Headers of answers are not read: a call that fails has no
 * message in its answer.
 *
 * @module
 */

import { connect, type Socket } from "node:net";
import { encodeText, viewOf } from "../../src/base/bytes.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_SIZE = 9;
const TYPES = {
  data: 0,
  headers: 1,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  window: 8,
} as const;
const FLAG_END_STREAM = 1;
const FLAG_ACK = 1;
const FLAG_END_HEADERS = 4;
const FIRST_WINDOW = 65_535;
const LARGE_WINDOW = 0x3fff_ffff;
const NOTHING = new Uint8Array(0);

type Done = (isAnswered: boolean) => void;

/** One connection; every stream is one call of the same method. */
export class GrpcConnection {
  readonly #socket: Socket;
  readonly #headers: Uint8Array;
  readonly #calls = new Map<number, { hasMessage: boolean; readonly done: Done }>();
  #nextStream = 1;
  #outgoing: Uint8Array[] = [];
  #isFlushQueued = false;
  /** Bytes of messages that the server takes before it gives more room. */
  #window = FIRST_WINDOW;
  #held: { readonly message: Uint8Array; readonly done: Done }[] = [];
  #incoming: Uint8Array = NOTHING;
  #received = 0;

  private constructor(socket: Socket, headers: Uint8Array) {
    this.#socket = socket;
    this.#headers = headers;
    socket.on("data", (chunk: Uint8Array) => this.#onData(chunk));
    socket.on("close", () => this.#onClose());
    const room = new Uint8Array(4);
    viewOf(room).setUint32(0, LARGE_WINDOW);
    const settings = new Uint8Array(6);
    viewOf(settings).setUint16(0, 4); // Room for each stream.
    viewOf(settings).setUint32(2, LARGE_WINDOW);
    this.#queue(encodeText(PREFACE));
    this.#queue(frame(TYPES.settings, settings));
    this.#queue(frame(TYPES.window, room));
  }

  /** Connects for calls of one method, for example "/etcdserverpb.KV/Put". */
  static open(port: number, method: string): Promise<GrpcConnection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: "127.0.0.1", noDelay: true });
      const headers = requestHeaders(method, `127.0.0.1:${port}`);
      socket.once("error", reject);
      socket.once("connect", () => resolve(new GrpcConnection(socket, headers)));
    });
  }

  /** Begins a call. */
  call(message: Uint8Array, done: Done): void {
    const size = message.byteLength + 5;
    if (size > this.#window || this.#held.length > 0) {
      this.#held.push({ message, done });
      return;
    }
    this.#window -= size;
    const stream = this.#nextStream;
    this.#nextStream += 2;
    this.#calls.set(stream, { hasMessage: false, done });
    const body = new Uint8Array(size);
    viewOf(body).setUint32(1, message.byteLength);
    body.set(message, 5);
    this.#queue(frame(TYPES.headers, this.#headers, { flags: FLAG_END_HEADERS, stream }));
    this.#queue(frame(TYPES.data, body, { flags: FLAG_END_STREAM, stream }));
  }

  close(): void {
    this.#calls.clear();
    this.#held = [];
    this.#socket.destroy();
  }

  #queue(bytes: Uint8Array): void {
    this.#outgoing.push(bytes);
    if (this.#isFlushQueued) return;
    this.#isFlushQueued = true;
    queueMicrotask(() => {
      this.#isFlushQueued = false;
      this.#socket.write(Buffer.concat(this.#outgoing));
      this.#outgoing = [];
    });
  }

  #onData(chunk: Uint8Array): void {
    const bytes = this.#incoming.byteLength === 0 ? chunk : Buffer.concat([this.#incoming, chunk]);
    const view = viewOf(bytes);
    let at = 0;
    while (bytes.byteLength - at >= FRAME_HEADER_SIZE) {
      const size = view.getUint16(at) * 256 + view.getUint8(at + 2);
      const end = at + FRAME_HEADER_SIZE + size;
      if (end > bytes.byteLength) break;
      const stream = view.getUint32(at + 5) & 0x7fff_ffff;
      const body = bytes.subarray(at + FRAME_HEADER_SIZE, end);
      this.#onFrame({ type: view.getUint8(at + 3), flags: view.getUint8(at + 4), stream }, body);
      at = end;
    }
    this.#incoming = bytes.subarray(at);
  }

  #onFrame(
    head: { readonly type: number; readonly flags: number; readonly stream: number },
    body: Uint8Array,
  ): void {
    const { type, flags, stream } = head;
    const isEnd = (flags & FLAG_END_STREAM) !== 0;
    if (type === TYPES.data) this.#onMessage(stream, body.byteLength);
    if (type === TYPES.reset || ((type === TYPES.data || type === TYPES.headers) && isEnd)) {
      this.#end(stream, type !== TYPES.reset);
    } else if (type === TYPES.settings && (flags & FLAG_ACK) === 0) {
      this.#queue(frame(TYPES.settings, NOTHING, { flags: FLAG_ACK, stream: 0 }));
    } else if (type === TYPES.ping && (flags & FLAG_ACK) === 0) {
      this.#queue(frame(TYPES.ping, body.slice(), { flags: FLAG_ACK, stream: 0 }));
    } else if (type === TYPES.window && stream === 0) {
      this.#window += viewOf(body).getUint32(0);
      for (const { message, done } of this.#held.splice(0)) this.call(message, done);
    } else if (type === TYPES.goAway) {
      this.#socket.destroy();
    }
  }

  #onMessage(stream: number, size: number): void {
    const call = this.#calls.get(stream);
    if (call !== undefined && size >= 5) call.hasMessage = true;
    this.#received += size;
    if (this.#received < LARGE_WINDOW / 2) return;
    const room = new Uint8Array(4);
    viewOf(room).setUint32(0, this.#received);
    this.#received = 0;
    this.#queue(frame(TYPES.window, room));
  }

  #end(stream: number, isWhole: boolean): void {
    const call = this.#calls.get(stream);
    this.#calls.delete(stream);
    call?.done(isWhole && call.hasMessage);
  }

  #onClose(): void {
    const lost = [...this.#calls.values(), ...this.#held];
    this.#calls.clear();
    this.#held = [];
    for (const { done } of lost) done(false);
  }
}

function frame(
  type: number,
  body: Uint8Array,
  head: { readonly flags: number; readonly stream: number } = { flags: 0, stream: 0 },
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_SIZE + body.byteLength);
  const view = viewOf(bytes);
  view.setUint16(0, body.byteLength >> 8);
  view.setUint8(2, body.byteLength & 0xff);
  view.setUint8(3, type);
  view.setUint8(4, head.flags);
  view.setUint32(5, head.stream);
  bytes.set(body, FRAME_HEADER_SIZE);
  return bytes;
}

/** HPACK with nothing but the static table and plain literals, so that no state is shared. */
function requestHeaders(method: string, authority: string): Uint8Array {
  const literal = (text: string): number[] => [text.length, ...encodeText(text)];
  return Uint8Array.from([
    0x83, // :method POST
    0x86, // :scheme http
    0x04, // :path
    ...literal(method),
    0x01, // :authority
    ...literal(authority),
    ...[0x0f, 0x10], // content-type
    ...literal("application/grpc"),
    0x00,
    ...literal("te"),
    ...literal("trailers"),
  ]);
}
