/**
 * How long a cluster needs when all its nodes died at once: loads documents, kills every node with
 * SIGKILL, starts them again, and waits for the first write to be acknowledged. Both with the files
 * as the load left them and right after a snapshot.
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { endClustersOnSignal, LocalCluster } from "../cli/local/local_cluster.ts";
import { machine, median } from "../cli/measure/report.ts";
import { probeDisk } from "../cli/measure/throughput.ts";
import type { CStoreError } from "../src/base/errors.ts";
import { connect, Node, parseNodeConfig } from "../src/mod.ts";
import { sleep, systemClock } from "../src/platform/clock.ts";
import { systemPlatform } from "../src/platform/platform.ts";

/** Documents of one request while loading, and such requests under way. */
const LOAD_BATCH = 500;
const LOAD_IN_FLIGHT = 16;
/** The limit. */
const TARGET_SECONDS = 5;

interface Options {
  readonly nodes: number;
  readonly documents: number;
  readonly rounds: number;
  readonly valueBytes: number;
  readonly data: string | undefined;
  readonly isJson: boolean;
}

/** One restart. */
interface Restart {
  readonly variant: string;
  /** From starting the processes to the first acknowledged write. */
  readonly firstWriteSeconds: number;
  /** From starting the processes until every node had applied all writes acknowledged before. */
  readonly caughtUpSeconds: number;
  /** Documents that were there afterwards, counted by a linearizable read. */
  readonly documents: number;
}

const USAGE = `Usage: bun bench/restart.ts [--nodes 3] [--documents 1000000] [--value-bytes 128]
                            [--rounds 3] [--data DIR] [--json]
`;

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      nodes: { type: "string", default: "3" },
      documents: { type: "string", default: "1000000" },
      "value-bytes": { type: "string", default: "128" },
      rounds: { type: "string", default: "3" },
      data: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const numbers = [values.nodes, values.documents, values.rounds, values["value-bytes"]].map(
    Number,
  );
  const [nodes = 0, documents = 0, rounds = 0, valueBytes = 0] = numbers;
  if (values.help || numbers.some((number) => !Number.isInteger(number) || number < 1)) {
    process.stdout.write(USAGE);
    process.exit(values.help ? 0 : 2);
  }
  return { nodes, documents, rounds, valueBytes, data: values.data, isJson: values.json };
}

async function load(cluster: LocalCluster, options: Options): Promise<number> {
  const database = await connect(cluster.addresses, { timeoutMs: 60_000 });
  const startMs = systemClock.nowMs();
  try {
    const collection = database.collection<{ id: string; value: string }>("restart");
    // The map, the names of its fields and the id take about 30 bytes.
    const value = "v".repeat(Math.max(1, options.valueBytes - 30));
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < options.documents) {
        const first = next;
        next = Math.min(options.documents, first + LOAD_BATCH);
        const documents = Array.from({ length: next - first }, (_, i) => {
          return { id: `doc-${String(first + i).padStart(8, "0")}`, value };
        });
        await collection.insertMany(documents);
      }
    };
    await Promise.all(Array.from({ length: LOAD_IN_FLIGHT }, worker));
  } finally {
    await database.close();
  }
  return (systemClock.nowMs() - startMs) / 1000;
}

/** Kills all, starts all, writes. */
async function restart(cluster: LocalCluster, variant: string): Promise<Restart> {
  const before = await Promise.all(cluster.nodes.map((node) => cluster.status(node, 5000)));
  const index = Math.max(...before.map((status) => status?.commitIndex ?? 0));
  await Promise.all(cluster.nodes.map((node) => cluster.signal(node, "SIGKILL")));
  const startMs = systemClock.nowMs();
  const seconds = (): number => Math.round(systemClock.nowMs() - startMs) / 1000;
  for (const node of cluster.nodes) cluster.startNode(node);
  await firstWrite(cluster.addresses);
  const firstWriteSeconds = seconds();
  for (const node of cluster.nodes) {
    while (((await cluster.status(node))?.appliedIndex ?? 0) < index) await sleep(systemClock, 10);
  }
  const caughtUpSeconds = seconds();
  const database = await connect(cluster.addresses);
  const documents = await database.collection("restart").count();
  await database.close();
  return { variant, firstWriteSeconds, caughtUpSeconds, documents };
}

/** Runs the stopped nodes inside this process, where they can be made to write a snapshot. */
async function takeSnapshots(cluster: LocalCluster): Promise<void> {
  await Promise.all(cluster.nodes.map((node) => cluster.signal(node, "SIGTERM")));
  const members = cluster.nodes.map(({ id, address }) => ({ id, address }));
  const nodes = await Promise.all(
    cluster.nodes.map(({ id, address, dataDirectory }) => {
      const config = parseNodeConfig({ id, members, listen: address, dataDirectory });
      return Node.open(systemPlatform(), config);
    }),
  );
  await firstWrite(cluster.addresses);
  for (const node of nodes) {
    while (node.machine.appliedIndex < node.log.lastIndex()) await sleep(systemClock, 10);
    await node.takeSnapshot();
  }
  await Promise.all(nodes.map((node) => node.stop()));
  for (const node of cluster.nodes) cluster.startNode(node);
  await cluster.waitForLeader();
}

/** Tries until a node is there, as a client that outlives its cluster would. */
async function firstWrite(addresses: string): Promise<void> {
  for (;;) {
    try {
      const database = await connect(addresses, { timeoutMs: 60_000 });
      await database.collection("restarted").put({ id: "first" });
      await database.close();
      return;
    } catch (error) {
      if ((error as CStoreError).retry === "never") throw error;
      await sleep(systemClock, 5);
    }
  }
}

function report(options: Options, loadSeconds: number, restarts: readonly Restart[]): void {
  const variants = [...new Set(restarts.map((one) => one.variant))];
  const summary = variants.map((variant) => {
    const of = restarts.filter((one) => one.variant === variant);
    const firstWriteSeconds = median(of.map((one) => one.firstWriteSeconds));
    const caughtUpSeconds = median(of.map((one) => one.caughtUpSeconds));
    const isReached = firstWriteSeconds < TARGET_SECONDS;
    return { variant, firstWriteSeconds, caughtUpSeconds, isReached };
  });
  const lost = restarts.filter((one) => one.documents !== options.documents).length;
  if (options.isJson) {
    const settings = { ...options, ...machine() };
    const result = { loadSeconds, restarts, summary, lost, settings };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } else {
    for (const { variant, firstWriteSeconds, caughtUpSeconds, isReached } of summary) {
      const verdict = isReached ? "reached" : "MISSED";
      process.stdout.write(
        `${variant.padEnd(16)} first write after ${firstWriteSeconds} s (target < ${TARGET_SECONDS} s: ${verdict}), all nodes caught up after ${caughtUpSeconds} s\n`,
      );
    }
  }
  if (lost === 0) return;
  process.stderr.write(`documents were missing after ${lost} restarts\n`);
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const options = readOptions();
  const tell = (line: string): boolean => process.stderr.write(`${line}\n`);
  const { nodes, documents, data } = options;
  const restarts: Restart[] = [];
  endClustersOnSignal();
  const cluster = await LocalCluster.start({ nodes, data });
  try {
    const fdatasyncMs = probeDisk(cluster.data);
    if (!options.isJson) {
      process.stdout.write(`${JSON.stringify({ ...machine(), ...options, fdatasyncMs })}\n`);
    }
    const loadSeconds = Math.round((await load(cluster, options)) * 100) / 100;
    tell(`loaded ${documents} documents in ${loadSeconds} s`);
    for (const variant of ["as the load left it", "fresh snapshot"]) {
      for (let round = 0; round < options.rounds; round += 1) {
        if (variant === "fresh snapshot") await takeSnapshots(cluster);
        const result = await restart(cluster, variant);
        tell(JSON.stringify(result));
        restarts.push(result);
      }
    }
    report(options, loadSeconds, restarts);
  } finally {
    await cluster.stop();
  }
}

await main();
