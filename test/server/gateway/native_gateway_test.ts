/**
 * Clients that take their replies slowly, or not at all.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import {
  CLIENT_OUT_BYTES_GOAL,
  CLIENT_OUT_BYTES_MAX,
  CLIENT_STALL_MS,
} from "../../../src/base/limits.ts";
import type { Frame } from "../../../src/protocol/wire/frame_header.ts";
import {
  NativeGateway,
  type NativeGatewayParts,
} from "../../../src/server/gateway/native_gateway.ts";
import type { Replies } from "../../../src/server/query_reply.ts";
import type { PeerConnection } from "../../../src/transport/peer_connection.ts";

const MIB = 1024 * 1024;
const ANSWER = new Uint8Array(MIB);
const LARGE = new Uint8Array(14 * MIB);

/** A client whose requests are answered by `onRequest`; it takes bytes when a test says so. */
function connected(onRequest: (replies: Replies, number: number) => void) {
  const timers: (() => void)[] = [];
  const state = { nowMs: 0, sent: 0, taken: 0, isClosed: false, requests: 0 };
  const connection = {
    get unsentBytes() {
      return state.sent - state.taken;
    },
    get bytesOut() {
      return state.sent;
    },
    get isClosed() {
      return state.isClosed;
    },
    send: (bytes: Uint8Array) => {
      state.sent += bytes.byteLength;
    },
    destroy: () => {
      state.isClosed = true;
    },
    pause: () => undefined,
    resume: () => undefined,
  };
  const parts = {
    clock: {
      nowMs: () => state.nowMs,
      soon: () => undefined,
      setTimer: (_ms: number, run: () => void) => timers.push(run),
    },
    gate: {
      handle: (_body: Uint8Array, replies: Replies) => {
        replies.started();
        onRequest(replies, state.requests);
        state.requests += 1;
      },
    },
    replyState: () => ({ term: 1, committedSequence: 0 }),
  } as unknown as NativeGatewayParts;
  const handlers = new NativeGateway(parts).serve(connection as unknown as PeerConnection);
  return {
    state,
    handlers,
    ask: () => handlers.frame({ kind: "REQUESTS", requestId: 0, body: new Uint8Array(1) } as Frame),
    timers: () => timers.length,
    /** Time passes, and everything that waited for it runs. */
    pass: (ms: number) => {
      state.nowMs += ms;
      for (const run of timers.splice(0)) run();
    },
  };
}

describe("a client that takes its replies slowly", () => {
  test("reads wait until it has taken what it was sent, and go on in order", () => {
    const made: number[] = [];
    const client = connected((replies, number) => {
      replies.whenRoom(() => {
        made.push(number);
        replies.result(number, ANSWER);
      });
    });
    for (let i = 0; i < 100; i += 1) client.ask();
    expect(made.length).toBeGreaterThanOrEqual(CLIENT_OUT_BYTES_GOAL / MIB);
    expect(client.state.sent).toBeLessThanOrEqual(CLIENT_OUT_BYTES_GOAL + 3 * MIB);
    for (let turn = 0; turn < 1000 && made.length < 100; turn += 1) {
      client.state.taken = Math.min(client.state.sent, client.state.taken + MIB / 2);
      client.pass(CLIENT_STALL_MS / 2);
      expect(client.state.sent - client.state.taken).toBeLessThanOrEqual(
        CLIENT_OUT_BYTES_GOAL + 3 * MIB,
      );
    }
    expect(made).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(client.state.isClosed).toBe(false);
  });

  test("it is cut off when it takes nothing for a while, and its reads are forgotten", () => {
    let made = 0;
    const client = connected((replies, number) => {
      replies.whenRoom(() => {
        made += 1;
        replies.result(number, ANSWER);
      });
    });
    for (let i = 0; i < 30; i += 1) client.ask();
    const before = made;
    expect(before).toBeLessThan(30);
    client.pass(CLIENT_STALL_MS);
    expect(client.state.isClosed).toBe(false);
    client.pass(1);
    expect(client.state.isClosed).toBe(true);
    client.handlers.closed(undefined);
    client.state.taken = client.state.sent;
    client.pass(1);
    expect(made).toBe(before);
  });

  test("one that takes a byte now and then is cut off, too", () => {
    const client = connected((replies, number) => {
      replies.whenRoom(() => replies.result(number, ANSWER));
    });
    for (let i = 0; i < 30; i += 1) client.ask();
    for (let turn = 0; turn < 12; turn += 1) {
      client.state.taken += 1;
      client.pass(CLIENT_STALL_MS / 10);
    }
    expect(client.state.isClosed).toBe(true);
  });

  test("answers that take several turns: few are begun at a time, made ones wait", () => {
    const begun: ((give: () => void) => void)[] = [];
    const client = connected((replies, number) => {
      replies.whenTurn((ended) => {
        begun.push(() => {
          replies.whenTaken(() => {
            replies.result(number, LARGE);
            ended();
          });
        });
      });
    });
    for (let i = 0; i < 100; i += 1) client.ask();
    expect(begun).toHaveLength(16);
    let made = 0;
    for (let turn = 0; turn < 1000 && made < 100; turn += 1) {
      for (; made < begun.length; made += 1) begun[made]?.(() => undefined);
      expect(client.state.sent - client.state.taken).toBeLessThan(CLIENT_OUT_BYTES_MAX);
      expect(client.timers()).toBeLessThanOrEqual(1);
      client.state.taken = Math.min(client.state.sent, client.state.taken + 9 * MIB);
      client.pass(1);
    }
    for (let turn = 0; turn < 1000; turn += 1) {
      client.state.taken = client.state.sent;
      client.pass(1);
    }
    expect(client.state.isClosed).toBe(false);
    expect(client.state.sent).toBeGreaterThan(100 * LARGE.byteLength);
    expect(client.timers()).toBe(0);
  });

  test("replies that cannot wait end at a bound", () => {
    const client = connected((replies, number) => replies.result(number, ANSWER));
    for (let i = 0; i < 50; i += 1) client.ask();
    expect(client.state.isClosed).toBe(false);
    for (let i = 0; i < 20; i += 1) client.ask();
    expect(client.state.isClosed).toBe(true);
    expect(client.state.sent).toBeGreaterThan(CLIENT_OUT_BYTES_MAX);
  });
});
