/**
 * What a fault of a chaos run has to work with.
 *
 * @module
 */

import type { SeededRandom } from "../../src/platform/random.ts";
import type { MembershipRequest } from "../../src/protocol/wire/request.ts";
import type { ChaosCluster, ChaosNode } from "./chaos_cluster.ts";
import type { LinkFaults } from "./link_faults.ts";

/** What a fault is given. */
export interface Scene extends FaultWorld {
  /** What must not happen happened. */
  fail(failure: string): void;
  /** Waits up to so long; less when the run is over. */
  wait(ms: number): Promise<void>;
  /** A node that no other fault has, for as long as the fault lasts; none if too few are left. */
  take(wanted?: ChaosNode): Promise<ChaosNode | undefined>;
  /** Uniform in [low, high) milliseconds. */
  between(lowMs: number, highMs: number): number;
}

/** What faults act on. */
export interface FaultWorld {
  readonly cluster: ChaosCluster;
  readonly links: LinkFaults;
  readonly random: SeededRandom;
  /** Hands leadership over; whether it came about. */
  promote(nodeId: string): Promise<boolean>;
  /** Changes the members; the error's code, "" when it came about. */
  change(request: MembershipRequest): Promise<string>;
  /** Tells of a fault as it begins. */
  tell(line: string): void;
}
