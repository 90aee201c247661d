/**
 * Cost of a new node while a cluster works: fills a cluster, lets its logs be cut, then measures
 * the latency of writes at a fixed rate before, and while a node joins that has to be sent a
 * snapshot, until it is a voter.
 *
 * @module
 */

import process from "node:process";
import { parseArgs } from "node:util";
import { endClustersOnSignal, LocalCluster } from "../cli/local/local_cluster.ts";
import { NodeProcess, ownCommand } from "../cli/local/node_process.ts";
import { latencyMs, machine, newHistogram } from "../cli/measure/report.ts";
import { connect, type NodeStatus, type RemoteDatabase } from "../src/mod.ts";
import { sleep, systemClock } from "../src/platform/clock.ts";

const LOAD_BATCH = 500;
const LOAD_IN_FLIGHT = 8;
const BEFORE_MS = 8000;
const LIMIT_MS = 120_000;
const ROUND_SIZE = 20_000;
const ROUNDS_MAX = 1000;

interface Item {
  readonly id: string;
  readonly value: string;
}

const { values } = parseArgs({
  options: {
    documents: { type: "string", default: "500000" },
    rate: { type: "string", default: "5000" },
    json: { type: "boolean", default: false },
  },
});
const documents = Number(values.documents);
const rate = Number(values.rate);
const value = "v".repeat(100);

async function fill(database: RemoteDatabase): Promise<void> {
  const collection = database.collection<Item>("bench");
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < documents) {
      const first = next;
      next += LOAD_BATCH;
      await collection.insertMany(
        Array.from({ length: LOAD_BATCH }, (_, i) => ({ id: `d${first + i}`, value })),
      );
    }
  };
  await Promise.all(Array.from({ length: LOAD_IN_FLIGHT }, worker));
  // Written over until the log begins behind a snapshot, which a new node then needs.
  for (let round = 0; !(await isCut(database)) && round < ROUNDS_MAX; round += 1) {
    const writes = Array.from({ length: ROUND_SIZE }, (_, i) =>
      collection.put({ id: `d${(round * ROUND_SIZE + i) % documents}`, value }),
    );
    await Promise.all(writes);
  }
}

async function isCut(database: RemoteDatabase): Promise<boolean> {
  return (await database.status()).firstIndex > 2;
}

/** Writes at the fixed rate until `isOver`; latencies count from when each write was due. */
async function measure(
  database: RemoteDatabase,
  isOver: () => boolean,
): Promise<ReturnType<typeof latencyMs>> {
  const collection = database.collection<Item>("bench");
  const histogram = newHistogram();
  const startMs = systemClock.nowMs();
  const running = new Set<Promise<void>>();
  for (let begun = 0; !isOver(); ) {
    const due = ((systemClock.nowMs() - startMs) / 1000) * rate;
    for (; begun < due; begun += 1) {
      const plannedMs = startMs + (begun / rate) * 1000;
      const write = collection.put({ id: `d${begun % documents}`, value }).then(() => {
        histogram.recordValue(Math.round((systemClock.nowMs() - plannedMs) * 1000));
        running.delete(write);
      });
      running.add(write);
    }
    await sleep(systemClock, 1);
  }
  await Promise.all(running);
  return latencyMs(histogram);
}

endClustersOnSignal();
const cluster = await LocalCluster.start({ nodes: 3 });
const database = await connect(cluster.addresses, { timeoutMs: 60_000 });
let joiner: NodeProcess | undefined;
try {
  await fill(database);
  const status = async (): Promise<NodeStatus> => await database.status();
  const hasCut = await isCut(database);
  const beganMs = systemClock.nowMs();
  const before = await measure(database, () => systemClock.nowMs() - beganMs > BEFORE_MS);
  const words = ["node", "--join", cluster.addresses, "--data", `${cluster.data}/joiner`];
  joiner = NodeProcess.start({ command: ownCommand(), words });
  const joinedMs = systemClock.nowMs();
  let isVoter = false;
  const watch = (async () => {
    while (!isVoter && systemClock.nowMs() - joinedMs < LIMIT_MS) {
      const { members } = await status();
      isVoter = members.filter(({ membership }) => membership === "voter").length === 4;
      await sleep(systemClock, 50);
    }
    return (systemClock.nowMs() - joinedMs) / 1000;
  })();
  let isOver = false;
  void watch.then(() => {
    isOver = true;
  });
  const during = await measure(database, () => isOver);
  const seconds = await watch;
  const ratio = Math.round((during.p99 / before.p99) * 100) / 100;
  const result = {
    documents,
    rate,
    isCut: hasCut,
    isVoter,
    seconds,
    before,
    during,
    ratio,
    ...machine(),
  };
  if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else {
    const log = hasCut ? "the log was cut, so it got a snapshot" : "the log was not cut";
    process.stdout.write(
      `${documents} documents, ${rate} writes a second; ${log}\n` +
        `p99 before ${before.p99} ms, while a node joined ${during.p99} ms: ${ratio} times\n` +
        `voter: ${isVoter} after ${seconds.toFixed(1)} s\n`,
    );
  }
} finally {
  await joiner?.stop("SIGTERM");
  await database.close();
  await cluster.stop();
}
