/**
 * Nodes in this process, each on a machine of its own that can be killed, over real sockets and
 * files.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "../../cli/local/local_cluster.ts";
import type { CStoreError } from "../../src/base/errors.ts";
import {
  type ConnectOptions,
  connect,
  type RemoteDatabase,
} from "../../src/client/remote_database.ts";
import { type NodeOptions, parseNodeConfig } from "../../src/node/config/node_config.ts";
import { Node } from "../../src/node/node.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import type { NodeAddress } from "../../src/protocol/encoding/cluster_command.ts";
import { MortalPlatform } from "./mortal_platform.ts";

const WAIT_MS = 120_000;
const SEGMENT_SIZE_BYTES = 256 * 1024;

/** Waits until `look` gives something; fails after a time that no slow machine needs. */
export async function waitFor<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const endMs = systemClock.nowMs() + WAIT_MS;
  while (systemClock.nowMs() < endMs) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    await sleep(systemClock, 5);
  }
  throw new Error(`waited in vain for ${what}`);
}

/** A folder that `remove` takes away. */
export function freshFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), "cstore-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** What a promise rejected with; fails if it did not. */
export async function rejection(promise: Promise<unknown>): Promise<CStoreError> {
  try {
    await promise;
  } catch (error) {
    return error as CStoreError;
  }
  throw new Error("the promise should have been rejected");
}

/** Options that tests set for all nodes. */
export type Settings = Partial<Omit<NodeOptions, "id" | "listen" | "members">>;

/** One place in the cluster, with or without a running node. */
export interface Seat {
  readonly id: string;
  readonly address: string;
  readonly dataDirectory: string;
  /** What its options say beside those of all nodes, in place of the list of members. */
  readonly options: Partial<NodeOptions> | undefined;
  platform: MortalPlatform;
  node: Node | undefined;
  /** What ended the node by itself. */
  fatal: CStoreError | undefined;
}

/** A cluster in this process. */
export class TestCluster {
  readonly seats: Seat[];
  readonly folder = freshFolder();
  readonly #settings: Settings;
  readonly #databases: RemoteDatabase[] = [];

  private constructor(ports: readonly number[], settings: Settings) {
    this.#settings = settings;
    this.seats = ports.map((port, i) => ({
      id: `n${i + 1}`,
      address: `127.0.0.1:${port}`,
      dataDirectory: `${this.folder.path}/n${i + 1}`,
      options: undefined,
      platform: new MortalPlatform(),
      node: undefined,
      fatal: undefined,
    }));
  }

  /** A place for one more node, which is to be started with these options. */
  async addSeat(id: string, options: Partial<NodeOptions>): Promise<Seat> {
    const [port] = await freePorts(1);
    const dataDirectory = `${this.folder.path}/${id}`;
    const machine = { platform: new MortalPlatform(), node: undefined, fatal: undefined };
    const seat = { id, address: `127.0.0.1:${port}`, dataDirectory, options, ...machine };
    this.seats.push(seat);
    return seat;
  }

  /** A node that joins with nothing but one address; resolves when it runs. */
  async join(id: string, options: Partial<NodeOptions> = {}): Promise<Seat> {
    const { address } = await this.leader();
    const seat = await this.addSeat(id, { join: [address], ...options });
    await this.startNode(seat);
    return seat;
  }

  static async start(count: number, settings: Settings = {}): Promise<TestCluster> {
    const cluster = new TestCluster(await freePorts(count), settings);
    for (const seat of cluster.seats) await cluster.startNode(seat);
    await cluster.leader();
    return cluster;
  }

  get addresses(): string {
    return this.seats.map((seat) => seat.address).join(",");
  }

  get nodes(): readonly Node[] {
    return this.seats.flatMap((seat) => (seat.node === undefined ? [] : [seat.node]));
  }

  options(seat: Seat): NodeOptions {
    return {
      // A busy machine stops a process for hundreds of milliseconds: a leader must stay all the
      // same. A node that dies is noticed by its closed connections, whatever stands here.
      heartbeatMs: 50,
      electionTimeoutMs: 1500,
      segmentSizeBytes: SEGMENT_SIZE_BYTES,
      ...this.#settings,
      id: seat.id,
      listen: seat.address,
      dataDirectory: seat.dataDirectory,
      ...(seat.options ?? { members: this.#firstMembers() }),
    };
  }

  #firstMembers(): NodeAddress[] {
    const first = this.seats.filter(({ options }) => options === undefined);
    return first.map(({ id, address }) => ({ id, address }));
  }

  /** `options` replace the seat's own for this start. */
  async startNode(seat: Seat, options: Partial<NodeOptions> = {}): Promise<Node> {
    seat.platform = new MortalPlatform();
    seat.fatal = undefined;
    const config = parseNodeConfig({ ...this.options(seat), ...options });
    const node = await Node.open(seat.platform, config, {
      onFatal: (error) => {
        seat.fatal = error;
        seat.node = undefined;
      },
    });
    seat.node = node;
    return node;
  }

  seat(id: string): Seat {
    const found = this.seats.find((seat) => seat.id === id);
    if (found === undefined) throw new RangeError(`no seat ${id}`);
    return found;
  }

  /** The seat whose node leads and takes writes. */
  leader(): Promise<Seat> {
    return waitFor("a leader that takes writes", () =>
      this.seats.find(({ node }) => {
        if (node?.isLeader !== true || !node.driver.view.hasCommittedOwnTerm) return false;
        const { members, bindings } = node.machine.memberTable;
        return bindings.size * 2 > members.length;
      }),
    );
  }

  async followers(): Promise<Seat[]> {
    const leader = await this.leader();
    return this.seats.filter((seat) => seat !== leader && seat.node !== undefined);
  }

  /** The node is gone as with SIGKILL. */
  async kill(seat: Seat): Promise<void> {
    await new Promise<void>((resolve) => systemClock.soon(resolve));
    seat.node = undefined;
    await seat.platform.kill();
  }

  async stopNode(seat: Seat): Promise<void> {
    const { node } = seat;
    seat.node = undefined;
    await node?.stop();
  }

  /** A client that ends with the cluster. */
  async connect(addresses = this.addresses, options: ConnectOptions = {}): Promise<RemoteDatabase> {
    const database = await connect(addresses, { timeoutMs: 20_000, ...options });
    this.#databases.push(database);
    return database;
  }

  async stop(): Promise<void> {
    for (const database of this.#databases) await database.close();
    await Promise.all(this.seats.map((seat) => this.stopNode(seat)));
    this.folder.remove();
  }
}
