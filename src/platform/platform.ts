/**
 * The outside world as one thing to pass on: the system's, or the simulator's.
 *
 * @module
 */

import { type Clock, systemClock } from "./clock.ts";
import { type FileSystem, systemFileSystem } from "./file_system.ts";
import { type Random, systemRandom } from "./random.ts";
import { type Network, systemNetwork } from "./sockets.ts";

/** Everything that is not a decision. */
export interface Platform {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: FileSystem;
  readonly network: Network;
}

/** The machine that this process runs on. */
export function systemPlatform(): Platform {
  return {
    clock: systemClock,
    random: systemRandom(),
    files: systemFileSystem,
    network: systemNetwork,
  };
}
