/**
 * Who changes the members while everything else goes wrong: asks through the shipped client, as
 * `cstore cluster` does, and asks again until it is done or settled otherwise.
 *
 * @module
 */

import { CStoreError } from "../../src/base/errors.ts";
import { Client } from "../../src/client/connection/client.ts";
import { RemoteDatabase } from "../../src/client/remote_database.ts";
import { stateDifference } from "../../src/database/state_digest.ts";
import { sleep } from "../../src/platform/clock.ts";
import type { Platform } from "../../src/platform/platform.ts";
import type { ClusterReplyTo, StateDigest } from "../../src/protocol/wire/reply.ts";
import type { ClusterRequest, MembershipRequest } from "../../src/protocol/wire/request.ts";
import { SimulatedDisk } from "../storage/fake_disk.ts";
import type { Host, HostCluster } from "./host.ts";

const TIMEOUT_MS = 3000;
const RETRY_MS = 250;
/** Attempts of a change that need not succeed. */
const ATTEMPTS = 30;
/** Machines that a run may have, those that left included. */
const HOSTS_MAX = 10;
/** Larger clusters find nothing that smaller ones do not, and cost more. */
const MEMBERS_MAX = 6;

/** Changes of the members, one task each; several may be under way. */
export class Operator {
  readonly #simulation: HostCluster;
  readonly #platform: Platform;
  #underway = 0;
  /** Voters that are being removed. */
  readonly #leaving = new Set<Host>();

  constructor(simulation: HostCluster) {
    this.#simulation = simulation;
    const disk = new SimulatedDisk({ random: simulation.world.random });
    this.#platform = simulation.platformOf(simulation.newClientProcess(), disk);
  }

  /** Whether nothing is under way. */
  get isIdle(): boolean {
    return this.#underway === 0;
  }

  /** Voters that may be gone before long. */
  get leavingCount(): number {
    return [...this.#leaving].filter((host) => this.#isMember(host)).length;
  }

  /** A fresh machine joins; the leader promotes it when it has caught up. */
  grow(isStandby = false): Host | undefined {
    const simulation = this.#simulation;
    const count = simulation.configuration?.members.length ?? 0;
    const isFull = count > MEMBERS_MAX || simulation.hosts.length >= HOSTS_MAX;
    if (count === 0 || isFull) return undefined;
    const host = simulation.addHost(isStandby);
    simulation.start(host);
    return host;
  }

  /** A member leaves, as long as those that are left can spare it. */
  shrink(victim: Host): void {
    if (!this.#simulation.canSpare(1) || !this.#isMember(victim)) return;
    this.#leaving.add(victim);
    this.#run(async () => {
      await this.#until({ action: "remove", id: victim.id }, () => !this.#isMember(victim));
    });
  }

  /** A fresh machine takes the place of a voter, through joint consensus. */
  replace(victim: Host): void {
    const successor = this.grow(true);
    if (successor === undefined) return;
    this.#run(async () => {
      const request = { action: "replace", id: victim.id, by: successor.id } as const;
      await this.#until(request, () => !this.#isMember(victim));
    });
  }

  /** A voter becomes a learner, and a voter again later. */
  demote(victim: Host, forMs: number): void {
    if (!this.#simulation.canSpare(1) || !this.#isMember(victim)) return;
    this.#leaving.add(victim);
    this.#run(async () => {
      const { id } = victim;
      await this.#until({ action: "role", id, role: "standby" }, () => !this.#isMember(victim));
      await sleep(this.#platform.clock, forMs);
      await this.#until({ action: "role", id, role: "voter" }, () => !this.#isMember(victim));
      this.#leaving.delete(victim);
    });
  }

  /** A follower's disk is empty: the cluster takes it back under its old id. */
  recoverWiped(victim: Host): void {
    const simulation = this.#simulation;
    const isLeading = victim === simulation.leader;
    if (isLeading || victim.refusal !== undefined || victim.isHeld) return;
    if (!this.#isMember(victim) || !simulation.mayDamage(victim)) return;
    simulation.wipe(victim);
    victim.isHeld = true;
    victim.isFirst = false;
    this.#run(async () => {
      const request = { action: "recover", id: victim.id } as const;
      // Without it the machine stays off: it must not come back as what it was.
      let isBack = false;
      while (!isBack && this.#isMember(victim)) {
        isBack = await this.#ask(request);
        if (!isBack) await sleep(this.#platform.clock, RETRY_MS);
      }
      victim.isHeld = false;
      simulation.start(victim);
    });
  }

  /** Has every member digest its state at one entry; says where two differ. */
  async verify(): Promise<string | undefined> {
    while (true) {
      try {
        return await this.#verifyOnce();
      } catch (error) {
        if (!(error instanceof CStoreError)) throw error;
      }
      await sleep(this.#platform.clock, RETRY_MS);
    }
  }

  async #verifyOnce(): Promise<string | undefined> {
    const { index } = await this.#send({ action: "verify" }, this.#simulation.addresses);
    let first: { readonly id: string; readonly state: StateDigest } | undefined;
    for (const { id, node, address } of this.#simulation.hosts) {
      if (node === undefined || this.#simulation.configuration?.has(id) !== true) continue;
      const answer = await this.#send({ action: "digest", index }, [address], "any");
      const state = answer as unknown as StateDigest;
      first ??= { id, state };
      const difference = stateDifference(first.state, state);
      if (difference !== undefined)
        return `${id} differs from ${first.id}: ${JSON.stringify(difference)}`;
    }
    return undefined;
  }

  /** Whether it may be one: only a leader knows that it is none. */
  #isMember({ id }: Host): boolean {
    return this.#simulation.leader?.node?.driver.view.configuration.has(id) !== false;
  }

  #run(task: () => Promise<void>): void {
    this.#underway += 1;
    void task().finally(() => {
      this.#underway -= 1;
    });
  }

  /** Repeats a change until it is made, nobody needs it any more, or it was refused often. */
  async #until(request: MembershipRequest, isOver: () => boolean): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS && !isOver(); attempt += 1) {
      if (await this.#ask(request)) return;
      await sleep(this.#platform.clock, RETRY_MS);
    }
  }

  async #ask(request: MembershipRequest): Promise<boolean> {
    try {
      await this.#send(request, this.#simulation.addresses);
      return true;
    } catch (error) {
      if (error instanceof CStoreError) return false;
      throw error;
    }
  }

  async #send<R extends ClusterRequest>(
    request: R,
    addresses: readonly string[],
    target: "leader" | "any" = "leader",
  ): Promise<ClusterReplyTo<R>> {
    const options = { platform: this.#platform, timeoutMs: TIMEOUT_MS };
    const database = new RemoteDatabase(await Client.connect([...addresses], options));
    try {
      return await database.cluster(request, target);
    } finally {
      await database.close();
    }
  }
}
