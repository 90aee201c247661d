/**
 * Planned change of leader: on request (`promote`), and when a leading node leaves. Event-driven:
 * nothing here polls.
 *
 * @module
 */

import { type CStoreError, DeadlineError, MembershipError, NotFoundError } from "../base/errors.ts";
import type { Clock } from "../platform/clock.ts";
import type { PromoteReply } from "../protocol/wire/reply.ts";
import type { RaftEvent } from "../raft/ready.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";

const LEAVE_TIMEOUT_MS = 500;
/** A campaign that was asked for may still arrive so long after this node serves again. */
const LATE_CAMPAIGN_MS = 1000;

function notVoter(nodeId: string): CStoreError {
  return new MembershipError(`Cannot promote "${nodeId}": it is a learner`, {
    remedy: "A learner can lead once it is a voter: see `cstore cluster status`",
  });
}

interface Waiter {
  readonly to: string;
  readonly startMs: number;
  resolve(result: PromoteReply): void;
  reject(error: CStoreError): void;
}

/** Hand-overs of one node. */
export class Handover {
  readonly #driver: RaftDriver;
  readonly #clock: Clock;
  readonly #id: string;
  #waiter: Waiter | undefined;

  constructor(driver: RaftDriver, clock: Clock, id: string) {
    this.#driver = driver;
    this.#clock = clock;
    this.#id = id;
  }

  /** Makes `nodeId` the leader; resolves when this node saw it commit. */
  promote(nodeId: string): Promise<PromoteReply> {
    const id = this.#id;
    const { configuration } = this.#driver.view;
    if (!configuration.has(nodeId)) return Promise.reject(unknownMember(nodeId));
    if (!configuration.voters.includes(nodeId)) return Promise.reject(notVoter(nodeId));
    if (!this.#driver.isLeader) return Promise.reject(this.#driver.notLeader());
    if (nodeId === id) {
      const { term } = this.#driver.view;
      return Promise.resolve({ from: id, to: id, term, stalledMs: 0 });
    }
    return new Promise((resolve, reject) => {
      this.#waiter?.reject(
        new MembershipError(`Cannot go on handing over: a later request names "${nodeId}"`),
      );
      this.#waiter = { to: nodeId, startMs: this.#clock.nowMs(), resolve, reject };
      this.#driver.transferLeadership(nodeId);
    });
  }

  /** Before leaving: hands leadership to the peer that has the most, within a bound. */
  async leave(): Promise<void> {
    const best = this.#driver.isLeader ? this.#driver.successor : undefined;
    if (best === undefined) return;
    const bound = new Promise<void>((resolve) => {
      this.#clock.setTimer(LEAVE_TIMEOUT_MS, resolve);
    });
    // Leaving goes on without a successor, too: the others elect one when the connection ends.
    const handed = this.promote(best).then(
      () => undefined,
      () => undefined,
    );
    await Promise.race([handed, bound]);
  }

  event(event: RaftEvent): void {
    if (event.type !== "TRANSFER_ENDED" || event.done || this.#waiter?.to !== event.to) return;
    const waiter = this.#waiter;
    // This node serves again, but the other one's campaign may be on its way over a long line.
    this.#clock.setTimer(LATE_CAMPAIGN_MS, () => {
      if (this.#waiter !== waiter || !this.#driver.isLeader) return;
      this.#waiter = undefined;
      waiter.reject(
        new DeadlineError(`Cannot hand over to "${waiter.to}": it did not take over in time`, {
          remedy: "The old leader goes on; look at the state and lag of the node",
        }),
      );
    });
  }

  /** Something was applied: perhaps the first entry of the next leader. */
  applied(): void {
    const waiter = this.#waiter;
    const { leader, term, hasCommittedOwnTerm } = this.#driver.view;
    if (waiter === undefined || !hasCommittedOwnTerm || leader === this.#id) return;
    this.#waiter = undefined;
    const stalledMs = this.#clock.nowMs() - waiter.startMs;
    if (leader === waiter.to) {
      waiter.resolve({ from: this.#id, to: waiter.to, term, stalledMs });
    } else {
      waiter.reject(
        new MembershipError(`Cannot hand over to "${waiter.to}": "${leader}" was elected`),
      );
    }
  }
}

/** The error for a member that is not there. */
export function unknownMember(nodeId: string): CStoreError {
  return new NotFoundError(`Cannot promote "${nodeId}": no member has that id`, {
    remedy: "`cstore cluster status` lists the members",
  });
}
