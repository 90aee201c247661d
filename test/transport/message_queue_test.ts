/**
 * The queue to one peer: what goes first, what is replaced, what is dropped.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { MessageQueue, type QueuePolicy } from "../../src/transport/message_queue.ts";
import { fuzzRandom, rounds, seeded } from "../protocol/fuzz_seed.ts";

function frame(mark: number, size = 1): Uint8Array {
  return new Uint8Array(size).fill(mark);
}

function marks(frames: readonly Uint8Array[]): number[] {
  return frames.map((bytes) => bytes[0]!);
}

test("queue: latest first, then urgent, then bulk, each in order", () => {
  const queue = new MessageQueue();
  queue.enqueue("APPEND", "bulk", frame(1));
  queue.enqueue("VOTE", "urgent", frame(2));
  queue.enqueue("HEARTBEAT", "latest", frame(3));
  queue.enqueue("APPEND", "bulk", frame(4));
  queue.enqueue("VOTE", "urgent", frame(5));
  queue.enqueue("READ", "latest", frame(6));
  expect(queue.size).toBe(6);
  expect(marks(queue.take(1_000))).toEqual([3, 6, 2, 5, 1, 4]);
  expect([queue.size, queue.bytes, queue.dropped]).toEqual([0, 0, 0]);
});

// Mutation that this finds: a replaced frame whose bytes are counted on.
test("queue: of latest only the newest of its kind is sent, and counted", () => {
  const queue = new MessageQueue({ bytesMax: 10 });
  expect(queue.enqueue("H", "latest", frame(1, 8))).toBe(true);
  expect(queue.enqueue("H", "latest", frame(2, 10))).toBe(true);
  expect([queue.size, queue.bytes]).toEqual([1, 10]);
  expect(queue.enqueue("H", "latest", frame(3, 11))).toBe(false);
  expect(queue.enqueue("H", "latest", frame(4, 1))).toBe(true);
  expect(queue.enqueue("I", "latest", frame(5, 9))).toBe(true);
  expect(queue.bytes).toBe(10);
  expect(marks(queue.take(0))).toEqual([4, 5]);
});

test.each<QueuePolicy>(["latest", "urgent", "bulk"])(
  "queue: %s is dropped above the bound",
  (policy) => {
    const queue = new MessageQueue({ bytesMax: 10 });
    expect(queue.enqueue("A", "bulk", frame(1, 10))).toBe(true);
    expect(queue.enqueue("B", policy, frame(2, 1))).toBe(false);
    expect([queue.size, queue.bytes, queue.dropped]).toEqual([1, 10, 1]);
    queue.take(1);
    expect(queue.enqueue("B", policy, frame(2, 1))).toBe(true);
  },
);

test("queue: bulk is taken up to the bound, at least one frame at a time", () => {
  const queue = new MessageQueue();
  for (const mark of [1, 2, 3, 4]) queue.enqueue("A", "bulk", frame(mark, 10));
  expect(marks(queue.take(0))).toEqual([1]);
  expect(marks(queue.take(20))).toEqual([2, 3]);
  queue.enqueue("V", "urgent", frame(9, 30));
  expect(marks(queue.take(20))).toEqual([9]);
  expect(marks(queue.take(20))).toEqual([4]);
  expect(queue.take(20)).toEqual([]);
});

test("queue: cleared it is empty and takes again", () => {
  const queue = new MessageQueue({ bytesMax: 10 });
  for (const policy of ["latest", "urgent", "bulk"] as const)
    queue.enqueue("A", policy, frame(1, 3));
  queue.clear();
  expect([queue.size, queue.bytes]).toEqual([0, 0]);
  expect(queue.take(100)).toEqual([]);
  expect(queue.enqueue("A", "bulk", frame(1, 10))).toBe(true);
});

test(seeded("queue: bytes and sizes add up, and nothing is lost or doubled"), () => {
  const random = fuzzRandom();
  const policies = ["latest", "urgent", "bulk"] as const;
  for (let run = 0; run < rounds(50); run += 1) {
    const queue = new MessageQueue({ bytesMax: 200 });
    const bulk: number[] = [];
    const sent: number[] = [];
    for (let step = 0; step < 200; step += 1) {
      const policy = policies[random.below(3)]!;
      const bytes = frame(step % 256, 1 + random.below(30));
      if (queue.enqueue(`${random.below(2)}`, policy, bytes) && policy === "bulk") {
        bulk.push(step % 256);
        bytes[0] = step % 256;
      }
      expect(queue.bytes).toBeLessThanOrEqual(200);
      if (random.chance(0.3)) sent.push(...marks(queue.take(random.below(80))));
    }
    while (queue.size > 0) sent.push(...marks(queue.take(80)));
    expect(queue.bytes).toBe(0);
    let at = 0;
    for (const mark of sent) if (mark === bulk[at]) at += 1;
    expect(at).toBe(bulk.length);
  }
});
