/**
 * One sync in flight; it covers what was written before it was issued and nothing later.
 *
 * @module
 */

import { expect, test } from "bun:test";
import fc from "fast-check";
import { GroupCommit } from "../../../src/storage/wal/group_commit.ts";

/** A target whose syncs end when the test says so. */
class Target {
  last = 0;
  inFlight = 0;
  mostInFlight = 0;
  /** Last record at the moment each sync was issued. */
  readonly issuedAt: number[] = [];
  readonly events: string[] = [];
  #ends: { resolve(): void; reject(cause: unknown): void }[] = [];

  lastRecord(): number {
    return this.last;
  }

  sync(): Promise<void> {
    this.inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    this.issuedAt.push(this.last);
    return new Promise((resolve, reject) => this.#ends.push({ resolve, reject }));
  }

  synced(through: number): void {
    this.events.push(`synced ${through}`);
  }

  failed(cause: unknown): void {
    this.events.push(`failed ${String(cause)}`);
  }

  async end(cause?: string): Promise<void> {
    const sync = this.#ends.shift();
    if (sync === undefined) return;
    this.inFlight -= 1;
    if (cause === undefined) sync.resolve();
    else sync.reject(cause);
    for (let i = 0; i < 4; i += 1) await Promise.resolve();
  }
}

// [sync covers later writes] [two syncs at once]
test("a sync covers only what was written before it was issued", async () => {
  const target = new Target();
  const commit = new GroupCommit(target, 0);
  target.last = 3;
  commit.request();
  target.last = 5;
  commit.request();
  expect(target.issuedAt).toEqual([3]);

  await target.end();
  expect(target.events).toEqual(["synced 3"]);
  expect([commit.syncedThrough, commit.isSyncing]).toEqual([3, true]);
  expect(target.issuedAt).toEqual([3, 5]);

  await target.end();
  expect(target.events).toEqual(["synced 3", "synced 5"]);
  expect([commit.syncedThrough, commit.isSyncing, target.mostInFlight]).toEqual([5, false, 1]);
});

test("without a request nothing is synced, and without news neither", async () => {
  const target = new Target();
  target.last = 4;
  const commit = new GroupCommit(target, 4);
  commit.request();
  expect(target.issuedAt).toEqual([]);
  target.last = 6;
  expect(target.issuedAt).toEqual([]);
  commit.request();
  target.last = 7;
  await target.end();
  expect(target.issuedAt).toEqual([6]);
  expect(commit.syncedThrough).toBe(6);
});

// [sync retried]
test("after a failure nothing is synced or reported any more", async () => {
  const target = new Target();
  const commit = new GroupCommit(target, 0);
  target.last = 1;
  commit.request();
  target.last = 2;
  commit.request();
  await target.end("EIO");
  commit.request();
  await target.end();
  expect(target.events).toEqual(["failed EIO"]);
  expect(commit.isSyncing).toBe(false);
  expect([target.issuedAt.length, commit.syncedThrough]).toEqual([1, 0]);
});

test("random schedules: one in flight, in order, only what was written, at last all", async () => {
  const step = fc.constantFrom("write", "request", "end");
  const property = fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
    const target = new Target();
    const commit = new GroupCommit(target, 0);
    for (const what of steps) {
      if (what === "write") target.last += 1;
      else if (what === "request") commit.request();
      else await target.end();
      expect(target.inFlight).toBeLessThanOrEqual(1);
      expect(commit.syncedThrough).toBeLessThanOrEqual(target.issuedAt.at(-1) ?? 0);
    }
    commit.request();
    await target.end();
    await target.end();
    expect(commit.syncedThrough).toBe(target.last);
    const told = target.events.map((event) => Number(event.split(" ")[1]));
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told).toEqual(target.issuedAt);
  });
  await fc.assert(property, { numRuns: 300, seed: 2 });
});
