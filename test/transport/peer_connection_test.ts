/**
 * One connection: deadlines, errors, joined writes, and nothing after the end.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { encodeText } from "../../src/base/bytes.ts";
import {
  type CStoreError,
  HandshakeError,
  NotFoundError,
  ProtocolError,
} from "../../src/base/errors.ts";
import {
  FRAME_TIMEOUT_MS,
  HANDSHAKE_BODY_SIZE_MAX,
  HANDSHAKE_TIMEOUT_MS,
  LIFE_SIZE_MIN,
} from "../../src/base/limits.ts";
import { FrameDecoder } from "../../src/protocol/wire/frame_decoder.ts";
import { encodeFrame, type Frame } from "../../src/protocol/wire/frame_header.ts";
import { decodeConnectionError } from "../../src/protocol/wire/handshake.ts";
import { PeerConnection } from "../../src/transport/peer_connection.ts";
import { FakeClock, FakeSocket } from "./fake_socket.ts";

interface Setup {
  readonly clock: FakeClock;
  readonly socket: FakeSocket;
  readonly connection: PeerConnection;
  /** Request ids of the frames that were handed on. */
  readonly frames: number[];
  /** One item each time that the connection was called closed. */
  readonly closed: (CStoreError | undefined)[];
  /** How often it was said that a frame has begun. */
  began(): number;
}

function setUp(onFrame: (frame: Frame) => void = () => undefined): Setup {
  const clock = new FakeClock();
  const socket = new FakeSocket();
  const connection = new PeerConnection(socket, clock);
  const frames: number[] = [];
  const closed: (CStoreError | undefined)[] = [];
  let beginnings = 0;
  connection.start({
    frame: (frame) => {
      frames.push(frame.requestId);
      onFrame(frame);
    },
    began: () => {
      beginnings += 1;
    },
    drained: () => undefined,
    closed: (cause) => closed.push(cause),
  });
  return { clock, socket, connection, frames, closed, began: () => beginnings };
}

function ping(requestId: number, size = 0): Uint8Array {
  return encodeFrame("PING", requestId, new Uint8Array(size));
}

/** The frames that the other side got. */
function sent(socket: FakeSocket): { readonly kind: string; readonly error?: CStoreError }[] {
  const seen: { readonly kind: string; readonly error?: CStoreError }[] = [];
  const decoder = new FrameDecoder();
  decoder.allowLargeFrames();
  for (const bytes of socket.writes) {
    decoder.push(bytes, ({ kind, body }) => {
      seen.push(kind === "ERROR" ? { kind, error: decodeConnectionError(body) } : { kind });
    });
  }
  return seen;
}

function expectFailed({ socket }: Setup, message: string): void {
  const errors = sent(socket).filter(({ kind }) => kind === "ERROR");
  expect(errors).toHaveLength(1);
  expect(errors[0]?.error?.message).toContain(message);
  expect(socket.endCount).toBe(1);
  expect(socket.writesAfterEnd).toBe(0);
}

describe("deadlines", () => {
  test("handshake: silence ends the connection with a word", () => {
    const setup = setUp();
    setup.clock.advance(HANDSHAKE_TIMEOUT_MS - 1);
    expect(setup.socket.writes).toEqual([]);
    setup.clock.advance(1);
    expectFailed(setup, "handshake");
  });

  test("handshake: done in time, silence is no error", () => {
    const { clock, socket, connection } = setUp();
    connection.handshakeDone();
    clock.advance(1_000_000);
    expect([socket.writes, socket.endCount, clock.timerCount]).toEqual([[], 0, 0]);
  });

  test("frame: one byte a second ends the connection at its deadline", () => {
    const setup = setUp();
    setup.connection.handshakeDone();
    const frame = ping(1, 100);
    for (let at = 0; at < FRAME_TIMEOUT_MS / 1_000; at += 1) {
      expect(setup.socket.endCount).toBe(0);
      setup.socket.receive(frame.subarray(at, at + 1));
      setup.clock.advance(1_000);
    }
    expectFailed(setup, `more than ${FRAME_TIMEOUT_MS} ms`);
    expect(setup.frames).toEqual([]);
  });

  test("frame: a large one over a thin line has the time that it needs", () => {
    const { clock, socket, connection, frames } = setUp();
    connection.handshakeDone();
    const frame = ping(1, 4 * 1024 * 1024);
    // A megabit a second.
    for (let at = 0; at < frame.byteLength; at += 125_000) {
      socket.receive(frame.subarray(at, at + 125_000));
      clock.advance(1000);
    }
    expect(frames).toHaveLength(1);
    expect([socket.endCount, clock.timerCount]).toEqual([0, 0]);
  });

  test("frame: one that goes on slower than half a megabit a second does not", () => {
    const setup = setUp();
    setup.connection.handshakeDone();
    const frame = ping(1, 4 * 1024 * 1024);
    for (let at = 0; at < 2; at += 1) {
      setup.socket.receive(frame.subarray(at * 600_000, (at + 1) * 600_000));
      setup.clock.advance(FRAME_TIMEOUT_MS);
    }
    expectFailed(setup, `more than ${FRAME_TIMEOUT_MS} ms`);
  });

  test("frame: its owner hears that a large one has begun", () => {
    const { socket, connection, began } = setUp();
    connection.handshakeDone();
    // One that no leader sends any more would keep it in office for ever.
    const small = ping(1, LIFE_SIZE_MIN - 1);
    for (let at = 0; at < small.byteLength; at += 50) socket.receive(small.subarray(at, at + 50));
    expect(began()).toBe(0);
    const frame = ping(1, LIFE_SIZE_MIN);
    socket.receive(frame.subarray(0, 50));
    socket.receive(frame.subarray(50, 60));
    expect(began()).toBe(2);
    socket.receive(frame.subarray(60));
    socket.receive(ping(2, 10));
    expect(began()).toBe(2);
  });

  test("frame: one that is whole in time stops the clock", () => {
    const { clock, socket, connection, frames } = setUp();
    connection.handshakeDone();
    for (let i = 0; i < 10; i += 1) {
      const frame = ping(i, 10);
      socket.receive(frame.subarray(0, 30));
      clock.advance(FRAME_TIMEOUT_MS - 1);
      socket.receive(frame.subarray(30));
      clock.advance(FRAME_TIMEOUT_MS * 2);
    }
    expect(frames).toHaveLength(10);
    expect([socket.endCount, clock.timerCount]).toEqual([0, 0]);
  });

  // On a busy connection nearly every chunk ends inside a frame. The clock was started by the first
  // of them and never again, so after ten seconds of load the connection was closed.
  test("frame: its deadline counts from its own first byte, not from the first of many", () => {
    const { clock, socket, connection, frames } = setUp();
    connection.handshakeDone();
    const stream = Buffer.concat(Array.from({ length: 100 }, (_, i) => ping(i, 10)));
    for (let at = 0; at < stream.byteLength; at += 33) {
      socket.receive(stream.subarray(at, at + 33));
      clock.advance(1_000);
    }
    expect(frames).toHaveLength(100);
    expect(socket.endCount).toBe(0);
  });

  // While the owner does not read, the rest of the frame cannot arrive.
  test("frame: a paused connection is not to blame", () => {
    const { clock, socket, connection, frames } = setUp();
    connection.handshakeDone();
    const frame = ping(5, 10);
    socket.receive(frame.subarray(0, 30));
    connection.pause();
    clock.advance(FRAME_TIMEOUT_MS * 3);
    expect(socket.endCount).toBe(0);
    connection.resume();
    clock.advance(FRAME_TIMEOUT_MS - 1);
    socket.receive(frame.subarray(30));
    expect(frames).toEqual([5]);
    socket.receive(frame.subarray(0, 30));
    connection.pause();
    connection.resume();
    clock.advance(FRAME_TIMEOUT_MS);
    expect(socket.endCount).toBe(1);
  });
});

describe("errors", () => {
  test("error: a damaged frame is answered once, then the connection ends", () => {
    const setup = setUp();
    setup.connection.handshakeDone();
    const bad = ping(2, 5);
    bad[26]! ^= 1;
    setup.socket.receive(Buffer.concat([ping(1), bad, ping(3)]));
    expectFailed(setup, "checksum");
    setup.socket.receive(ping(4));
    setup.socket.receive(bad);
    expect(setup.frames).toEqual([1]);
    expectFailed(setup, "checksum");
    setup.clock.advance(HANDSHAKE_TIMEOUT_MS);
    expect(setup.socket.isDestroyed).toBe(true);
    expect(setup.closed).toHaveLength(1);
    expect(setup.closed[0]).toBeInstanceOf(ProtocolError);
  });

  test("error: a large frame before the handshake is refused", () => {
    const setup = setUp();
    setup.socket.receive(ping(1, HANDSHAKE_BODY_SIZE_MAX + 1).subarray(0, 24));
    expectFailed(setup, "exceed");
  });

  test("error: what the owner throws is told to the other side", () => {
    const setup = setUp(() => {
      throw new HandshakeError("you are not n2");
    });
    setup.socket.receive(Buffer.concat([ping(1), ping(2)]));
    expectFailed(setup, "you are not n2");
    expect(setup.frames).toEqual([1]);
  });

  test("error: a bug is not", () => {
    const { socket } = setUp(() => {
      throw new RangeError("a bug");
    });
    expect(() => socket.receive(ping(1))).toThrow("a bug");
  });

  // A failed connection that the other side did not close ran into the handshake's deadline and
  // failed again; a second frame after the end makes the socket drop the first one too.
  test("error: the first one counts, and only it is sent", () => {
    const setup = setUp();
    setup.connection.fail(new NotFoundError("first"));
    setup.connection.fail(new NotFoundError("second"));
    setup.clock.advance(HANDSHAKE_TIMEOUT_MS - 1);
    expectFailed(setup, "first");
    setup.clock.advance(FRAME_TIMEOUT_MS);
    expectFailed(setup, "first");
    expect(setup.closed.map((cause) => cause?.message)).toEqual(["first"]);
  });

  test("error: failing inside of a frame and then throwing says it once", () => {
    const setup = setUp(() => {
      setup.connection.fail(new NotFoundError("first"));
      throw new ProtocolError("second");
    });
    setup.socket.receive(Buffer.concat([ping(1), ping(2)]));
    expectFailed(setup, "first");
    expect(setup.frames).toEqual([1]);
  });
});

describe("writing", () => {
  test("writes: small frames of one turn leave together, in order", async () => {
    const { socket, connection } = setUp();
    for (let i = 0; i < 100; i += 1) connection.send(ping(i));
    expect(socket.writes).toEqual([]);
    expect(connection.unsentBytes).toBe(2_400);
    await Promise.resolve();
    expect(socket.writes).toHaveLength(1);
    expect(sent(socket)).toHaveLength(100);
    expect([connection.bytesOut, connection.unsentBytes]).toEqual([2_400, 0]);
  });

  test("writes: large frames are not copied, and the order stays", () => {
    const { socket, connection } = setUp();
    const frames = [10, 100, 70_000, 20, 65_000, 600, 70_000, 5].map((size, i) => ping(i, size));
    for (const frame of frames) connection.send(frame);
    connection.flush();
    expect(Buffer.concat(socket.writes)).toEqual(Buffer.concat(frames));
    expect(socket.writes).toContain(frames[2]!);
    expect(socket.writes).toContain(frames[6]!);
    expect(socket.writes.length).toBeLessThan(frames.length);
    connection.flush();
    expect(Buffer.concat(socket.writes)).toHaveLength(Buffer.concat(frames).length);
  });

  test("writes: the socket's own queue counts as unsent", () => {
    const { socket, connection } = setUp();
    socket.unsentBytes = 70;
    connection.send(ping(1));
    expect(connection.unsentBytes).toBe(94);
  });

  // A reply that comes late must not kill the error frame that is on its way.
  test("writes: nothing is written after fail, end or close", async () => {
    const failed = setUp();
    failed.connection.fail(new NotFoundError("x"));
    failed.connection.send(ping(1));
    await Promise.resolve();
    expectFailed(failed, "x");

    const ended = setUp();
    ended.connection.send(ping(1));
    ended.connection.end();
    ended.connection.send(ping(2));
    ended.connection.end();
    await Promise.resolve();
    expect(sent(ended.socket)).toEqual([{ kind: "PING" }]);
    expect([ended.socket.endCount, ended.socket.writesAfterEnd]).toEqual([1, 0]);

    const closed = setUp();
    closed.socket.hangUp();
    closed.connection.send(ping(1));
    closed.connection.fail(new NotFoundError("x"));
    await Promise.resolve();
    expect(closed.socket.writes).toEqual([]);
    expect(closed.connection.isClosed).toBe(true);
  });

  test("writes: what was queued when the other side hung up is forgotten", async () => {
    const { socket, connection } = setUp();
    connection.send(ping(1));
    socket.hangUp();
    await Promise.resolve();
    expect([socket.writes.length, connection.unsentBytes]).toEqual([0, 0]);
  });
});

describe("the end", () => {
  test("close: it is said once, timers stop, and nothing is heard afterwards", () => {
    const { clock, socket, connection, frames, closed } = setUp();
    socket.receive(ping(1, 9).subarray(0, 30));
    expect(clock.timerCount).toBe(2);
    socket.hangUp();
    socket.hangUp();
    socket.receive(ping(1));
    expect([closed, frames, clock.timerCount]).toEqual([[undefined], [], 0]);
    connection.destroy();
    clock.advance(1_000_000);
    expect(closed).toHaveLength(1);
  });

  test("destroy: at once, without a word", () => {
    const { socket, connection, closed } = setUp();
    connection.send(encodeFrame("PING", 1, encodeText("x")));
    connection.destroy();
    expect([socket.writes, socket.isDestroyed, closed]).toEqual([[], true, [undefined]]);
  });

  // Mutation that this finds: an `end` that waits for ever for a peer that never reads.
  test("end: a peer that does not close is cut off", () => {
    const { clock, socket, connection, closed } = setUp();
    connection.handshakeDone();
    connection.end();
    clock.advance(FRAME_TIMEOUT_MS - 1);
    expect(socket.isDestroyed).toBe(false);
    clock.advance(1);
    expect(socket.isDestroyed).toBe(true);
    expect(closed).toEqual([undefined]);
  });

  test("hand over: frames and the end go to the new owner", () => {
    const { socket, connection, frames, closed } = setUp();
    const heard: string[] = [];
    connection.handOver({
      frame: ({ kind }) => heard.push(kind),
      drained: () => undefined,
      closed: () => heard.push("closed"),
    });
    socket.receive(ping(1));
    socket.hangUp();
    expect([heard, frames, closed]).toEqual([["PING", "closed"], [], []]);
  });
});
