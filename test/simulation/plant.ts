/**
 * A bug that is planted to see whether the simulator finds it.
 *
 * @module
 */

import type { FaultKind } from "./faults.ts";

/** A wrong rule in place of a right one. */
export interface Plant {
  readonly name: string;
  /** What is wrong with it, in a few words. */
  readonly about: string;
  /** File below src. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** Kinds of faults that show it soonest; all when not given. */
  readonly faults?: readonly FaultKind[];
  /** Which clients the seeds have: unless given, as the seed says. */
  readonly mode?: "multi-master" | "master-slave";
  /** Whether the seeds run with limits that short runs reach. */
  readonly hasSmallLimits?: boolean;
  /** Beginning of the name of a test that fails with it: hundreds of seeds did not show it. */
  readonly scenario?: string;
}
