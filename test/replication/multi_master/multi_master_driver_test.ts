/**
 * Whole nodes that all take writes, on simulated disks: what is answered is on the disk, also after
 * power cuts, and all agree in the end.
 *
 * @module
 */

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { encodeText } from "../../../src/base/bytes.ts";
import { StorageError } from "../../../src/base/errors.ts";
import { VersionTable } from "../../../src/database/collection/version_table.ts";
import { EMPTY_SEED } from "../../../src/multi_master/config.ts";
import { MultiMaster } from "../../../src/multi_master/multi_master.ts";
import { type Agreement, FIRST_FLOOR } from "../../../src/multi_master/operation/agreement.ts";
import { type Clock, systemClock } from "../../../src/platform/clock.ts";
import { SeededRandom } from "../../../src/platform/random.ts";
import { OperationChecksum } from "../../../src/protocol/operations/operation_checksum.ts";
import { VERSION_CODEC } from "../../../src/protocol/operations/version_codec.ts";
import {
  MultiMasterDriver,
  type WriteWait,
} from "../../../src/replication/multi_master/multi_master_driver.ts";
import type { SegmentLog } from "../../../src/storage/wal/segment_log.ts";
import type { SimulatedDisk } from "../../storage/fake_disk.ts";
import { diskOf, openLog, settle } from "../../storage/log_fixture.ts";

setDefaultTimeout(60_000);

const IDS = ["n1", "n2", "n3"] as const;
const LONG: WriteWait = { timeoutMs: 10_000 };
const START_MS = 1_700_000_000_000;
const AGREEMENT: Agreement = {
  ...{ version: 1, closed: new Map(), retired: new Map(), floor: FIRST_FLOOR },
  origins: new Map(IDS.map((id) => [id, `${id}/1`])),
  collections: new Map([[1, { strategy: "set" }]]),
};

/** One node; it may lose its power. */
class Node {
  readonly id: string;
  readonly disk: SimulatedDisk;
  log!: SegmentLog;
  master!: MultiMaster;
  driver!: MultiMasterDriver;

  constructor(id: string, seed: number) {
    this.id = id;
    this.disk = diskOf(seed);
  }
}

/** Three nodes, and what is on its way between them. */
class Cluster {
  readonly nodes: readonly Node[];
  readonly #sums = new OperationChecksum();
  network: { readonly from: string; readonly to: string; readonly body: Uint8Array }[] = [];
  wallMs = START_MS;
  readonly #clock: Clock = { ...systemClock, wallMs: () => this.wallMs };

  private constructor(seed: number) {
    this.nodes = IDS.map((id, at) => new Node(id, 10 * seed + at));
  }

  static async start(seed = 1): Promise<Cluster> {
    const cluster = new Cluster(seed);
    for (const node of cluster.nodes) await cluster.boot(node);
    return cluster;
  }

  async boot(node: Node): Promise<void> {
    const { id } = node;
    node.log = await openLog(node.disk, { cacheBytes: 4096 });
    const { operations } = node.log;
    node.master = new MultiMaster(
      {
        ...{ node: id, origin: `${id}/1`, driftMaxMs: 500, pullTicks: 1, waitTicks: 100 },
        ...{ messageBytes: 4096, windowBytes: 65_536, resolvers: new Map(), codec: VERSION_CODEC },
        checksum: (operation, previous) => this.#sums.of(operation, previous),
      },
      AGREEMENT,
      {
        store: new VersionTable(1),
        seed: EMPTY_SEED,
        operations: operations.operations(),
        log: operations,
      },
    );
    const driver = new MultiMasterDriver({
      ...{ clock: this.#clock, master: node.master, operations },
      requestSync: () => node.log.requestSync(),
      send: (to, body) => this.network.push({ from: id, to, body }),
      members: () => IDS.length,
      tell: () => undefined,
      show: () => undefined,
    });
    node.driver = driver;
    node.log.listen({
      synced: (through) => driver.synced(through),
      failed: (cause) => driver.failed(new StorageError("the log failed", { cause })),
    });
  }

  /** What is under way arrives, and what follows from it. */
  async deliver(isLost: () => boolean = () => false): Promise<void> {
    for (let round = 0; round < 50; round += 1) {
      await settle();
      const mail = this.network.splice(0);
      if (mail.length === 0) return;
      for (const { from, to, body } of mail) {
        if (isLost()) continue;
        this.nodes.find(({ id }) => id === to)?.driver.receive(body, { from, to });
      }
    }
  }

  async pass(times: number, isLost?: () => boolean): Promise<void> {
    for (let i = 0; i < times; i += 1) {
      this.wallMs += 100;
      for (const { driver } of this.nodes) driver.tick();
      await this.deliver(isLost);
    }
  }

  async powerCut(node: Node): Promise<void> {
    node.driver.failed(new StorageError("the power is gone"));
    node.disk.cutPower();
    await this.boot(node);
  }

  async texts(): Promise<Set<string>> {
    const texts = this.nodes.map(({ master }) => {
      const frozen = master.freeze();
      const rows = [...frozen.documents()].map(({ key, versions }) => {
        return `${key} ${versions.map(({ dot, chain }) => `${dot.origin} ${dot.sequence} ${chain}`)}`;
      });
      frozen.release();
      return rows.sort().join("\n");
    });
    return new Set(texts);
  }
}

function request(key: string, tags: readonly string[]) {
  const body = VERSION_CODEC.encode({ tags });
  return { documents: [{ collection: 1, key: encodeText(key), body }] };
}

async function tagsAt(node: Node, key: string): Promise<unknown> {
  const { body } = await node.driver.read(1, encodeText(key));
  return body === undefined ? undefined : VERSION_CODEC.decode(body)["tags"];
}

describe("nodes that all take writes", () => {
  test("a write on any node is read on every other one, and after a restart of all", async () => {
    const cluster = await Cluster.start();
    for (const node of cluster.nodes) {
      const { acknowledgements } = await node.driver.write(request(node.id, ["a"]), LONG);
      expect(acknowledgements).toBe(1);
    }
    await cluster.pass(2);
    for (const node of cluster.nodes) {
      for (const id of IDS) expect(await tagsAt(node, id)).toEqual(["a"]);
    }
    for (const node of cluster.nodes) await cluster.powerCut(node);
    for (const node of cluster.nodes) {
      for (const id of IDS) expect(await tagsAt(node, id)).toEqual(["a"]);
    }
  });

  test("a write is answered when as many disks have it as were asked for", async () => {
    const cluster = await Cluster.start();
    const [first] = cluster.nodes;
    for (const [ack, wanted] of [
      ["majority", 2],
      ["all", 3],
    ] as const) {
      let outcome: { readonly acknowledgements: number } | undefined;
      const writing = first!.driver.write(request(ack, ["a"]), { ack, ...LONG }).then((done) => {
        outcome = done;
      });
      await settle(5);
      expect(outcome).toBeUndefined();
      await cluster.pass(2);
      await writing;
      expect(outcome).toMatchObject({ wanted, members: 3 });
      expect(outcome?.acknowledgements).toBeGreaterThanOrEqual(wanted);
    }
  });

  test("a write that reached fewer disks in time says how many, and goes on", async () => {
    const cluster = await Cluster.start();
    const [first, , third] = cluster.nodes;
    const outcome = await first!.driver.write(request("d", ["a"]), { ack: "all", timeoutMs: 5 });
    expect(outcome).toMatchObject({ acknowledgements: 1, wanted: 3, members: 3 });
    await cluster.pass(2);
    expect(await tagsAt(third!, "d")).toEqual(["a"]);
  });

  test("operations that are not in memory any more reach a node that was away", async () => {
    const cluster = await Cluster.start();
    const [first, second, third] = cluster.nodes;
    for (let i = 0; i < 60; i += 1) {
      await first!.driver.write(request(`d${i}`, ["x".repeat(300)]), LONG);
    }
    await cluster.pass(3, () => cluster.network.length < 0);
    await cluster.deliver();
    await cluster.pass(20);
    for (const node of [second!, third!]) expect(await tagsAt(node, "d0")).toHaveLength(1);
    expect((await cluster.texts()).size).toBe(1);
  });

  test("what the log refuses ends who waits, and everything after it", async () => {
    const cluster = await Cluster.start();
    const [first] = cluster.nodes;
    const writing = first!.driver.write(request("d", ["a"]), LONG);
    first!.driver.failed(new StorageError("the disk is gone"));
    expect(writing).rejects.toThrow("the disk is gone");
    expect(first!.driver.write(request("d", ["a"]), LONG)).rejects.toThrow(StorageError);
    expect(first!.driver.read(1, encodeText("d"))).rejects.toThrow(StorageError);
  });
});

describe("nodes that all take writes, with power cuts and lost messages", () => {
  test.each(Array.from({ length: 15 }, (_, i) => i + 1))(
    "seed %i: what was answered is everywhere in the end",
    async (seed) => {
      const random = new SeededRandom(seed);
      const cluster = await Cluster.start(seed);
      const acknowledged = new Map<string, Set<string>>();
      const writing: Promise<unknown>[] = [];
      for (let step = 0; step < 120; step += 1) {
        const node = cluster.nodes[random.below(3)]!;
        const dice = random.below(10);
        if (dice < 6) {
          const [key, tag] = [`d${random.below(4)}`, `t${step}`];
          // The change is made of what is here: no two of one node lose each other.
          const body = (before: Uint8Array | undefined): Uint8Array => {
            const tags = before === undefined ? [] : VERSION_CODEC.decode(before)["tags"];
            return VERSION_CODEC.encode({ tags: [...(tags as string[]), tag] });
          };
          const documents = [{ collection: 1, key: encodeText(key), body }];
          const noted = node.driver.write({ documents }, LONG).then(
            () => acknowledged.set(key, (acknowledged.get(key) ?? new Set()).add(tag)),
            (error: unknown) => expect(error).toBeInstanceOf(StorageError),
          );
          writing.push(noted);
        } else if (dice < 8) await cluster.pass(1, () => random.chance(0.3));
        else if (dice < 9) await settle(random.below(3));
        else await cluster.powerCut(node);
      }
      await settle(10);
      await Promise.all(writing);
      await cluster.pass(20);
      expect((await cluster.texts()).size).toBe(1);
      let count = 0;
      for (const [key, tags] of acknowledged) {
        const found = new Set((await tagsAt(cluster.nodes[0]!, key)) as string[]);
        for (const tag of tags) expect(found.has(tag)).toBe(true);
        count += tags.size;
      }
      expect(count).toBeGreaterThan(10);
    },
  );
});
