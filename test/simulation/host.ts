/**
 * The machines of a simulated cluster, and what is done to them from outside.
 *
 * @module
 */

import type { CStoreError } from "../../src/base/errors.ts";
import type { Node } from "../../src/node/node.ts";
import type { Platform } from "../../src/platform/platform.ts";
import type { Configuration } from "../../src/raft/configuration.ts";
import type { SimulatedDisk } from "../storage/fake_disk.ts";
import type { ClockFault, SimulatedProcess, World } from "./world.ts";

/** One machine, with or without a running node. */
export interface Host {
  readonly id: string;
  readonly address: string;
  readonly disk: SimulatedDisk;
  /** Among the first members; any other begins by joining the cluster. */
  isFirst: boolean;
  /** Joins as a learner that stays one. */
  readonly isStandby: boolean;
  /** It must not be started until somebody says so. */
  isHeld: boolean;
  process: SimulatedProcess | undefined;
  node: Node | undefined;
  /**
   * Why it must not be started again: its folder does not open, or it was removed. Undefined while
   * it may.
   */
  refusal: CStoreError | undefined;
  isStalling: boolean;
  failNextSync: boolean;
  /** Its disk says that it synced, and does not. */
  isLying: boolean;
  /** Shortest and longest sync while its disk is slow. */
  syncMs: readonly [number, number] | undefined;
  clock: ClockFault;
}

/** A simulated cluster, as those see it who change its members. */
export interface HostCluster {
  readonly world: World;
  readonly hosts: readonly Host[];
  readonly addresses: string[];
  readonly configuration: Configuration | undefined;
  readonly leader: Host | undefined;
  start(host: Host): void;
  wipe(host: Host): void;
  addHost(isStandby?: boolean): Host;
  platformOf(process: SimulatedProcess, disk: SimulatedDisk): Platform;
  newClientProcess(): SimulatedProcess;
  /** Whether a host's data may be damaged now without more being lost than a cluster survives. */
  mayDamage(host: Host): boolean;
  /** Whether that many members can be missing now. */
  canSpare(count: number): boolean;
}
