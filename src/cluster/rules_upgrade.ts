/**
 * The rules version of the cluster, on the leader: a new cluster begins with the newest rules, an
 * older one is raised to them by its operator, once the build of every member knows them.
 *
 * @module
 */

import { type CStoreError, MembershipError, UnknownOutcomeError } from "../base/errors.ts";
import { NEWEST_RULES, type RulesVersion } from "../base/rules_version.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import type { PreparedBatch } from "../protocol/encoding/batch_codec.ts";
import { rulesBatch } from "../protocol/encoding/cluster_command.ts";
import { type Hello, rulesOf } from "../protocol/wire/handshake.ts";
import type { RulesReply } from "../protocol/wire/reply.ts";
import type { RaftDriver } from "../replication/raft/raft_driver.ts";
import type { Members } from "./members.ts";

/** Parts that the rules depend on. */
export interface RulesParts {
  readonly id: string;
  readonly machine: DocumentStateMachine;
  readonly driver: Pick<RaftDriver, "proposeBatch">;
  readonly members: Pick<Members, "configuration" | "isUp">;
}

interface Waiter {
  resolve(reply: RulesReply): void;
  reject(error: CStoreError): void;
}

/** What each member's build knows, and what is proposed. */
export class RulesUpgrade {
  readonly #parts: RulesParts;
  /** Newest rules of each node's build, by its last handshake. */
  readonly #known = new Map<string, RulesVersion>();
  #waiters: Waiter[] = [];

  constructor(parts: RulesParts) {
    this.#parts = parts;
    this.#known.set(parts.id, NEWEST_RULES);
  }

  /** A handshake showed a node. */
  seen(hello: Hello): void {
    if (hello.role === "peer") this.#known.set(hello.nodeId, rulesOf(hello));
  }

  /** To be proposed before the first folders of a cluster are bound: no write precedes it. */
  beginning(timeMs: number): PreparedBatch | undefined {
    const { machine, members } = this.#parts;
    const isNew = machine.memberTable.bindings.size === 0 && machine.rules < NEWEST_RULES;
    // A member that was not seen yet and is too old is refused later, by name.
    const isShared = members.configuration.ids.every((id) => {
      return (this.#known.get(id) ?? NEWEST_RULES) >= NEWEST_RULES;
    });
    return isNew && isShared ? rulesBatch(NEWEST_RULES, timeMs) : undefined;
  }

  /** The rules now, and those that each member's build knows. */
  view(): RulesReply {
    const { machine, members } = this.#parts;
    const rows = members.configuration.ids.map((id) => {
      return { id, newest: this.#known.get(id) ?? null, isUp: members.isUp(id) };
    });
    return { rules: machine.rules, newest: NEWEST_RULES, members: rows };
  }

  /**
   * Raises the rules to the newest; resolves when that is applied here. Throws MembershipError
   * while a member is down, or runs a build that does not know them.
   */
  raise(timeMs: number): Promise<RulesReply> {
    const view = this.view();
    if (view.rules >= NEWEST_RULES) return Promise.resolve(view);
    const away = view.members.filter(({ isUp, newest }) => !isUp || newest === null);
    const old = view.members.filter(({ newest }) => (newest ?? NEWEST_RULES) < NEWEST_RULES);
    if (away.length > 0 || old.length > 0) {
      const names = (away.length > 0 ? away : old).map(({ id }) => id).join(", ");
      const why = away.length > 0 ? "no contact with" : "an older build runs on";
      throw new MembershipError(`Cannot raise the rules to ${NEWEST_RULES}: ${why} ${names}`, {
        remedy: "Bring every member up with this build, or remove it; nothing was changed",
      });
    }
    if (!this.#parts.driver.proposeBatch(rulesBatch(NEWEST_RULES, timeMs))) {
      throw new MembershipError("Cannot raise the rules during a hand-over", {
        remedy: "Try again; nothing was changed",
      });
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** More was applied: perhaps new rules. */
  applied(): void {
    if (this.#waiters.length === 0 || this.#parts.machine.rules < NEWEST_RULES) return;
    const view = this.view();
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(view);
  }

  /** This node does not lead any more. */
  stop(): void {
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(
        new UnknownOutcomeError("Cannot tell whether the rules were raised: the leader changed", {
          remedy: "`cstore cluster upgrade status` shows the rules",
        }),
      );
    }
  }
}
