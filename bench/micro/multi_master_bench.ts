/**
 * Writing on every node without disks and network: cores in one process, whose messages are handed
 * over at once and whose syncs end at once. The cost of deciding remains.
 *
 * @module
 */

import { assert } from "../../src/base/assert.ts";
import { encodeText } from "../../src/base/bytes.ts";
import { VersionTable } from "../../src/database/collection/version_table.ts";
import { EMPTY_SEED, type ReadOperations } from "../../src/multi_master/config.ts";
import type { MultiMasterMessage } from "../../src/multi_master/message.ts";
import { MultiMaster } from "../../src/multi_master/multi_master.ts";
import {
  type Agreement,
  FIRST_FLOOR,
  proposeFloor,
  withFloor,
} from "../../src/multi_master/operation/agreement.ts";
import type { Operation } from "../../src/multi_master/operation/operation.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { OperationChecksum } from "../../src/protocol/operations/operation_checksum.ts";
import { VERSION_CODEC } from "../../src/protocol/operations/version_codec.ts";
import { type MicroGroup, type MicroTask, runMicro } from "./micro_runner.ts";

const IDS = ["n1", "n2", "n3"] as const;
const KEYS = 10_000;
/** Operations in one sample, and in one Ready. */
const WRITES = 1024;
const TOGETHER = 64;
const REMOVALS = 100_000;
const BODY = encodeCbor({ id: "0123456789", n: 1, text: "x".repeat(90) });
const KEY_BYTES = Array.from({ length: KEYS }, (_, i) => encodeText(`d${i}`));
const START_MS = 1_700_000_000_000;
/** The operations that a node has written, cut at the floor. */
class KeptLog {
  readonly #streams = new Map<string, { base: number; operations: Operation[] }>();

  append(operation: Operation): void {
    const stream = this.#streams.get(operation.origin) ?? { base: 0, operations: [] };
    this.#streams.set(operation.origin, stream);
    stream.operations.push(operation);
  }

  read(origin: string, from: number, bytesMax: number): ReadOperations {
    const stream = this.#streams.get(origin);
    if (stream === undefined || from <= stream.base) return { kind: "gone" };
    const at = from - stream.base - 1;
    return { kind: "operations", operations: stream.operations.slice(at, at + bytesMax / 256) };
  }

  cut(floor: ReadonlyMap<string, number>): void {
    for (const [origin, stream] of this.#streams) {
      const count = Math.max(0, (floor.get(origin) ?? 0) - stream.base);
      stream.operations.splice(0, count);
      stream.base += count;
    }
  }
}

/** Nodes whose messages are carried until there are none. */
class BenchCluster {
  agreement: Agreement = {
    version: 1,
    origins: new Map(IDS.map((id) => [id, `${id}/1`])),
    closed: new Map(),
    retired: new Map(),
    floor: FIRST_FLOOR,
    collections: new Map([[1, { strategy: "last-write-wins" }]]),
  };
  readonly nodes = IDS.map((id) => {
    const log = new KeptLog();
    const sums = new OperationChecksum();
    const store = new VersionTable(1);
    const master = new MultiMaster(
      {
        ...{ node: id, origin: `${id}/1`, driftMaxMs: 500, pullTicks: 1, waitTicks: 100 },
        ...{
          messageBytes: 64 * 1024,
          windowBytes: 1024 * 1024,
          resolvers: new Map(),
          codec: VERSION_CODEC,
        },
        checksum: (operation, previous) => sums.of(operation, previous),
      },
      this.agreement,
      { store, seed: EMPTY_SEED, operations: [], log },
    );
    return { id, master, log };
  });
  #nowMs = START_MS;

  get nowMs(): number {
    return this.#nowMs;
  }

  get first(): MultiMaster {
    return this.nodes[0]!.master;
  }

  /** Carries out what a node has decided; gives its messages. */
  carryOut({ master, log }: (typeof this.nodes)[number]): MultiMasterMessage[] {
    const mail: MultiMasterMessage[] = [];
    for (let ready = master.takeReady(); ready !== undefined; ready = master.takeReady()) {
      for (const operation of ready.operations) log.append(operation);
      mail.push(...ready.messages);
      master.persisted(ready.number);
    }
    return mail;
  }

  settle(): void {
    const mail = this.nodes.flatMap((node) => this.carryOut(node));
    for (let message = mail.shift(); message !== undefined; message = mail.shift()) {
      const to = message.to;
      const node = this.nodes.find(({ id }) => id === to);
      if (node === undefined) continue;
      node.master.step(message, this.#nowMs);
      mail.push(...this.carryOut(node));
    }
  }

  /** Lets time pass, and agrees upon a floor. */
  pass(): void {
    this.#nowMs += 100;
    for (const { master } of this.nodes) master.tick(this.#nowMs);
    this.settle();
    const proposal = proposeFloor(this.agreement, this.first.progress() ?? []);
    if (proposal === undefined) return;
    this.agreement = withFloor(this.agreement, proposal);
    for (const { master, log } of this.nodes) {
      master.setAgreement(this.agreement);
      log.cut(this.agreement.floor.floor);
    }
    this.settle();
  }
}

function write(master: MultiMaster, at: number, nowMs: number): void {
  const key = KEY_BYTES[at % KEYS]!;
  const { kind } = master.write({ documents: [{ collection: 1, key, body: BODY }] }, nowMs);
  assert(kind === "written", "the write is taken");
}

/** Decisions of nodes that all take writes. */
export const MULTI_MASTER_BENCH: MicroGroup = {
  name: "multi-master",
  async open() {
    const cluster = new BenchCluster();
    const [first] = cluster.nodes;
    assert(first !== undefined, "there are three nodes");
    let at = 0;
    const local: MicroTask = {
      name: "a write of one document of 120 bytes, one node's part",
      operations: WRITES,
      run: () => {
        for (let done = 0; done < WRITES; done += TOGETHER) {
          for (let i = 0; i < TOGETHER; i += 1, at += 1) write(first.master, at, START_MS);
          cluster.carryOut(first);
        }
      },
    };
    const three: MicroTask = {
      name: "a write that three nodes take in",
      operations: WRITES,
      run: () => {
        for (let done = 0; done < WRITES; done += TOGETHER) {
          for (let i = 0; i < TOGETHER; i += 1, at += 1) {
            write(first.master, at, cluster.nowMs);
          }
          cluster.settle();
        }
        cluster.pass();
      },
    };
    const read: MicroTask = {
      name: "a read of a document",
      operations: WRITES,
      run: () => {
        for (let i = 0; i < WRITES; i += 1) {
          const { body } = first.master.read(1, KEY_BYTES[(i * 7919) % KEYS]!);
          assert(body !== undefined, "the document is there");
        }
      },
    };
    const removals = new BenchCluster();
    for (let i = 0; i < REMOVALS; i += 1) {
      const key = encodeText(`r${i}`);
      removals.first.write({ documents: [{ collection: 1, key, body: undefined }] }, START_MS);
      if (i % TOGETHER === 0) removals.carryOut(removals.nodes[0]!);
    }
    removals.carryOut(removals.nodes[0]!);
    const tick: MicroTask = {
      name: `a tick with ${REMOVALS} removals that are kept`,
      operations: 1,
      run: () => {
        removals.first.tick(START_MS);
        removals.carryOut(removals.nodes[0]!);
      },
    };
    return { tasks: [three, read, tick, local], close: async () => {} };
  },
};

if (import.meta.main) await runMicro([MULTI_MASTER_BENCH]);
