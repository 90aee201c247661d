/**
 * Clients that write collections of every node, whoever leads and whatever is cut off; and the
 * verdict on what is left of it once all nodes have met again.
 *
 * @module
 */

import { AssertionError } from "../../src/base/assert.ts";
import { CStoreError, NotConfirmedError } from "../../src/base/errors.ts";
import { Client } from "../../src/client/connection/client.ts";
import { RemoteDatabase } from "../../src/client/remote_database.ts";
import { sleep } from "../../src/platform/clock.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import { decodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { ACKNOWLEDGEMENTS, type Acknowledgement } from "../../src/protocol/wire/client_message.ts";
import { SimulatedDisk } from "../storage/fake_disk.ts";
import { Violation } from "./checkers/cluster.ts";
import type { Host } from "./host.ts";
import type { SimulatedProcess, World } from "./world.ts";

/** The collections, by the strategy of each. */
const STRATEGIES = ["counter", "set", "last-write-wins", "siblings", "max"] as const;
type Strategy = (typeof STRATEGIES)[number];
const KEYS = 3;
/** Of whole documents each so many-th write removes one. */
const REMOVE_EVERY = 5;
const TIMEOUT_MS = 1500;

/** The cluster, as this load sees it. */
export interface MastersScene {
  readonly world: World;
  readonly hosts: readonly Host[];
  readonly addresses: string[];
  platformOf(process: SimulatedProcess, disk: SimulatedDisk): Platform;
  newClientProcess(): SimulatedProcess;
}

/** One write that was begun. */
interface Written {
  readonly strategy: Strategy;
  readonly key: string;
  readonly value: number;
  readonly ack: Acknowledgement;
  /** The client has its answer: it is on as many disks as were asked for. */
  isConfirmed: boolean;
  /** Nothing of it happened. */
  isRefused: boolean;
}

/** Clients that write on all nodes. */
export class MastersLoad {
  readonly #scene: MastersScene;
  readonly #random: SeededRandom;
  readonly #written: Written[] = [];
  readonly #clients: Client[] = [];
  #isStopped = false;
  #underway = 0;
  #values = 0;
  /** Writes that got an answer. */
  answered = 0;

  constructor(scene: MastersScene) {
    this.#scene = scene;
    this.#random = new SeededRandom(scene.world.random.u32());
  }

  get begun(): number {
    return this.#written.length;
  }

  get isIdle(): boolean {
    return this.#underway === 0;
  }

  /** One client for each node, which turns to that one first. */
  start(): void {
    for (const { address } of this.#scene.hosts) void this.#live(address);
  }

  stop(): void {
    this.#isStopped = true;
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }

  async #live(address: string): Promise<void> {
    const process = this.#scene.newClientProcess();
    const disk = new SimulatedDisk({ random: this.#scene.world.random });
    const platform = this.#scene.platformOf(process, disk);
    const client = await this.#connect(platform, address);
    if (client === undefined) return;
    this.#clients.push(client);
    const database = new RemoteDatabase(client);
    for (const strategy of STRATEGIES) {
      await this.#patiently(platform, async () => {
        const conflict = { strategy };
        await database.createCollection(strategy, { mode: "MULTI_MASTER", conflict });
      });
    }
    while (!this.#isStopped) {
      this.#underway += 1;
      await this.#write(database);
      this.#underway -= 1;
      await sleep(platform.clock, this.#random.below(400));
    }
  }

  async #connect(platform: Platform, address: string): Promise<Client | undefined> {
    const addresses = [address, ...this.#scene.addresses];
    let client: Client | undefined;
    await this.#patiently(platform, async () => {
      client = await Client.connect(addresses, { platform, timeoutMs: TIMEOUT_MS });
    });
    return client;
  }

  async #patiently(platform: Platform, run: () => Promise<void>): Promise<void> {
    while (!this.#isStopped) {
      try {
        await run();
        return;
      } catch (error) {
        if (!(error instanceof CStoreError)) throw error;
        await sleep(platform.clock, 50);
      }
    }
  }

  async #write(database: RemoteDatabase): Promise<void> {
    const random = this.#random;
    const strategy = STRATEGIES[random.below(STRATEGIES.length)]!;
    const key = `k${random.below(KEYS)}`;
    this.#values += 1;
    const value = this.#values;
    const ack = ACKNOWLEDGEMENTS[[0, 0, 0, 1, 1, 2][random.below(6)]!]!;
    const written: Written = { strategy, key, value, ack, isConfirmed: false, isRefused: false };
    this.#written.push(written);
    try {
      await this.#call(database, written);
      written.isConfirmed = true;
      this.answered += 1;
    } catch (error) {
      if (error instanceof AssertionError || !(error instanceof CStoreError)) throw error;
      if (error instanceof NotConfirmedError) this.answered += 1;
      else written.isRefused = error.retry !== "unknown-outcome" && error.code !== "CLOSED";
    }
  }

  async #call(database: RemoteDatabase, { strategy, key, value, ack }: Written): Promise<void> {
    const collection = database.collection<{ id: string }>(strategy, { ack });
    const upsert = { upsert: true };
    if (strategy === "counter") {
      await collection.updateOne({ id: key }, { $inc: { n: 1 } } as never, upsert);
    } else if (strategy === "set") {
      await collection.updateOne({ id: key }, { $addToSet: { tags: value } } as never, upsert);
    } else if (value % REMOVE_EVERY === 0) await collection.delete(key);
    else {
      const padding = "x".repeat([0, 0, 500, 4000][this.#random.below(4)]!);
      await collection.put({ id: key, value, padding } as { id: string });
    }
  }

  /** Whether all members take part and have the same operations on their disks. */
  hasMet(members: readonly Host[]): boolean {
    const running = members.map(({ node }) => node?.masters.running?.master);
    const [first] = running;
    if (first === undefined) return this.#written.length === 0;
    const version = Math.max(
      ...members.map(({ node }) => node?.machine.masters.agreement.version ?? 0),
    );
    return running.every((master) => {
      if (master === undefined || master.isStopped || !master.isReady) return false;
      const { token } = master;
      const isSame = Bun.deepEquals(sorted(token.cursor), sorted(first.token.cursor));
      return isSame && token.version === version && master.peers.length >= members.length - 1;
    });
  }

  /** Throws Violation. `isWhole`: no disk has lost what was synced on it. */
  judge(node: NonNullable<Host["node"]>, isWhole: boolean): void {
    for (const strategy of STRATEGIES) {
      for (let k = 0; k < KEYS; k += 1) {
        const key = `k${k}`;
        const all = this.#written.filter((one) => one.strategy === strategy && one.key === key);
        this.#judgeOne(node, { strategy, key, isWhole, all });
      }
    }
  }

  #judgeOne(
    node: NonNullable<Host["node"]>,
    what: {
      readonly strategy: Strategy;
      readonly key: string;
      readonly isWhole: boolean;
      readonly all: readonly Written[];
    },
  ): void {
    const { strategy, key, isWhole, all } = what;
    const must = all.filter((one) => one.isConfirmed && (isWhole || one.ack !== "one"));
    const may = all.filter((one) => !one.isRefused);
    const document = documentIn(node, strategy, key);
    const fail = (why: string): never => {
      throw new Violation("masters", `${strategy} ${key}: ${why}`);
    };
    if (strategy === "counter") {
      const n = (document?.["n"] ?? 0) as number;
      if (n < must.length) fail(`${n} of ${must.length} acknowledged additions are there`);
      if (n > may.length) fail(`${n} additions of ${may.length} that were begun`);
    } else if (strategy === "set") {
      const tags = new Set((document?.["tags"] ?? []) as number[]);
      const lost = must.find(({ value }) => !tags.has(value));
      if (lost !== undefined) fail(`element ${lost.value} is lost (${lost.ack})`);
      const known = new Set(may.map(({ value }) => value));
      const strange = [...tags].find((tag) => !known.has(tag));
      if (strange !== undefined) fail(`element ${strange} was refused, or never written`);
    } else {
      const isKept = all.every((one) => one.value % REMOVE_EVERY > 0);
      if (document === undefined && must.length > 0 && isKept) fail("no document is there");
      const value = document?.["value"];
      if (document !== undefined && !may.some((one) => one.value === value)) {
        fail(`${value} was refused, or never written`);
      }
    }
  }
}

function sorted(cursor: ReadonlyMap<string, number>): [string, number][] {
  return [...cursor].sort(([a], [b]) => (a < b ? -1 : 1));
}

function documentIn(
  node: NonNullable<Host["node"]>,
  collection: string,
  id: string,
): { readonly [field: string]: unknown } | undefined {
  const store = node.machine.collectionOrEmpty(collection);
  const at = store.locate(encodeKey(id));
  return at === -1 ? undefined : (decodeCbor(store.document(at)) as never);
}
