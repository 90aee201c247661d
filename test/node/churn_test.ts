/**
 * Members that change at random while nodes are killed, wiped and started, under load: whatever is
 * refused, no acknowledged write is lost and all nodes end with the same. A seed decides what is
 * tried, not how it interleaves; `CSTORE_CHURN_SEEDS=1,2,3` tries others.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import type { RemoteDatabase } from "../../src/client/remote_database.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import type { MembershipRequest } from "../../src/protocol/wire/request.ts";
import type { Configuration } from "../../src/raft/configuration.ts";
import { expectAll, expectSame, startWriter } from "./load.ts";
import { type Seat, TestCluster, waitFor } from "./test_cluster.ts";

const SEEDS = (process.env.CSTORE_CHURN_SEEDS ?? "1").split(",").map(Number);
const STEPS = 20;
const PAUSE_MS = 300;
const SETTINGS = {
  snapshotLogBytes: 64 * 1024,
  segmentSizeBytes: 64 * 1024,
  requestTimeoutMs: 3000,
};
/** How a change may be refused; all else is a bug. */
const REFUSALS = ["MEMBERSHIP", "OVERLOADED", "NOT_LEADER", "DEADLINE", "NO_QUORUM", "NOT_FOUND"];

class Churn {
  readonly cluster: TestCluster;
  readonly #database: RemoteDatabase;
  readonly #random: SeededRandom;
  changes = 0;

  constructor(cluster: TestCluster, database: RemoteDatabase, seed: number) {
    this.cluster = cluster;
    this.#database = database;
    this.#random = new SeededRandom(seed);
  }

  async members(): Promise<Configuration> {
    const { node } = await this.cluster.leader();
    return node?.driver.view.configuration ?? (await this.members());
  }

  async step(): Promise<void> {
    const members = await this.members();
    const member = this.#pick(members.members);
    const learner = this.#pick(members.members.filter(({ id }) => !members.mayVote(id)));
    const voter = this.#pick(members.voters);
    if (member === undefined) throw new RangeError("there are members");
    const { id } = member;
    switch (this.#random.below(6)) {
      case 0:
        await this.#ask({ action: "remove" as const, id });
        break;
      case 1:
        await this.#ask({
          action: "role" as const,
          id,
          role: this.#pick(["voter", "standby"]) ?? "",
        });
        break;
      case 2:
        await this.#ask({
          action: "replace" as const,
          id: voter ?? "",
          by: learner?.id ?? "nobody",
        });
        break;
      case 3:
        if (members.voters.length >= 3) await this.#kill(this.#pick(this.#running()));
        break;
      case 4:
        await this.#loseFolder(this.cluster.seat(id), members);
        break;
      default:
        await this.#database.promote(id).catch((error) => expect(REFUSALS).toContain(error.code));
    }
    await sleep(systemClock, this.#random.below(PAUSE_MS));
    await this.startAll();
  }

  /** Starts who is down; who is no member any more begins anew. */
  async startAll(): Promise<void> {
    for (const seat of this.cluster.seats) {
      // Removed before it heard of anybody: nobody is left who would tell it.
      const isUntold = seat.node?.driver.view.lastIndex === 0;
      if (isUntold && !(await this.members()).has(seat.id)) await this.cluster.stopNode(seat);
      if (seat.node !== undefined) continue;
      const isMember = (await this.members()).has(seat.id) && seat.fatal?.code !== "REMOVED";
      if (!isMember) rmSync(seat.dataDirectory, { recursive: true, force: true });
      const join = this.#running().map(({ address }) => address);
      await this.cluster.startNode(seat, { members: [], join });
    }
  }

  #running(): Seat[] {
    return this.cluster.seats.filter(({ node }) => node !== undefined);
  }

  #pick<T>(list: readonly T[]): T | undefined {
    return list[this.#random.below(Math.max(1, list.length))];
  }

  async #ask(request: MembershipRequest): Promise<boolean> {
    const refusal = await this.#database.cluster(request).then(
      () => "",
      (error) => `${error.code}`,
    );
    if (refusal !== "") expect([request, REFUSALS.includes(refusal), refusal]).toContain(true);
    else this.changes += 1;
    return refusal === "";
  }

  async #kill(seat: Seat | undefined): Promise<void> {
    const down = this.cluster.seats.length - this.#running().length;
    if (seat !== undefined && down === 0) await this.cluster.kill(seat);
  }

  async #loseFolder(seat: Seat, members: Configuration): Promise<void> {
    const leader = await this.cluster.leader();
    if (seat === leader || members.voters.length < 3) return;
    await this.#kill(seat);
    await waitFor("it to be missed", () => {
      const shown = leader.node?.status().members.find(({ id }) => id === seat.id);
      return shown === undefined || shown.state !== "healthy";
    });
    const isDone = await this.#ask({ action: "recover" as const, id: seat.id });
    if (isDone) rmSync(seat.dataDirectory, { recursive: true, force: true });
  }
}

for (const seed of SEEDS) {
  test(`members change at random (seed ${seed})`, async () => {
    const cluster = await TestCluster.start(3, SETTINGS);
    try {
      for (const id of ["m1", "m2"]) await cluster.join(id);
      const database = await cluster.connect(cluster.addresses, { timeoutMs: 30_000 });
      const writer = startWriter(database, "load", "x".repeat(500));
      const churn = new Churn(cluster, database, seed);
      for (let step = 0; step < STEPS; step += 1) await churn.step();
      await writer.stop();
      expect(writer.failed).toEqual([]);
      expect(churn.changes).toBeGreaterThan(0);
      await waitFor("all to be members, and nobody to catch up", async () => {
        await churn.startAll();
        const { members } = await churn.members();
        return members.length === 5 && members.every(({ role }) => role !== "learner");
      });
      await expectSame(cluster);
      await expectAll(database, "load", writer);
    } finally {
      await cluster.stop();
    }
  });
}
