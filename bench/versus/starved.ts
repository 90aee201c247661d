/**
 * Leaders on a machine whose processors are busy with other programs: 200 writes a second for a
 * while, all documents read in a circle, then a kill and a pause of the leader. Counts terms and
 * failed requests, and measures the longest time without an acknowledged write.
 * `bun bench/versus/starved.ts --busy 16 --seconds 60`; with `--etcd` three nodes of etcd.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { endClustersOnSignal, LocalCluster } from "../../cli/local/local_cluster.ts";
import { connect, type NodeStatus } from "../../src/mod.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { askEtcd, base64, etcdTerm, startEtcdNodes } from "./etcd_peer.ts";

const text = { type: "string" } as const;
const { values } = parseArgs({
  options: {
    busy: { ...text, default: "16" },
    seconds: { ...text, default: "60" },
    rate: { ...text, default: "200" },
    documents: { ...text, default: "30000" },
    etcd: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const documents = Number(values.documents);
const VALUE = "v".repeat(128);
const SETTLE_MS = 10_000;

/** What is measured. */
interface Product {
  put(i: number): Promise<unknown>;
  term(): Promise<number>;
  /** Reads all documents once; returns how many came. */
  exported(): Promise<number>;
  /** Kills the leader, or pauses it, for so long; where that is measured. */
  hit?(signal: "SIGKILL" | "SIGSTOP", forMs: number): Promise<void>;
  stop(): Promise<void>;
}

async function startCstore(): Promise<Product> {
  const cluster = await LocalCluster.start({ nodes: 3 });
  const database = await connect(cluster.addresses);
  const collection = database.collection("starved");
  for (let at = 0; at < documents; at += 1000) {
    const items = Array.from({ length: 1000 }, (_, i) => ({ id: `e${at + i}`, value: VALUE }));
    await database.collection("exported").insertMany(items);
  }
  const seen = async (): Promise<NodeStatus[]> => {
    const all = await Promise.all(cluster.nodes.map((node) => cluster.status(node, 10_000)));
    return all.filter((status) => status !== undefined);
  };
  return {
    put: (i) => collection.put({ id: `k${i % 1000}`, value: VALUE }),
    term: async () => Math.max(0, ...(await seen()).map(({ term }) => term)),
    exported: async () => {
      let count = 0;
      for await (const _ of database.collection("exported").iterate()) count += 1;
      return count;
    },
    hit: async (signal, forMs) => {
      const leader = (await seen()).find(({ role }) => role === "leader");
      const node = cluster.node(leader?.id ?? "");
      await cluster.signal(node, signal);
      await sleep(systemClock, forMs);
      if (signal === "SIGKILL") cluster.startNode(node);
      else await cluster.signal(node, "SIGCONT");
    },
    stop: async () => {
      await database.close();
      await cluster.stop();
    },
  };
}

/** Through its JSON gateway, at one node after the other. */
async function etcdProduct(directory: string): Promise<Product> {
  const { clientPorts, stop } = await startEtcdNodes(directory);
  for (let at = 0; at < documents; at += 100) {
    const success = Array.from({ length: 100 }, (_, i) => ({
      requestPut: { key: base64(`e${at + i}`), value: base64(VALUE) },
    }));
    await askEtcd(clientPorts[0], "kv/txn", { success });
  }
  return {
    put: (i) =>
      askEtcd(clientPorts[i % 3], "kv/put", { key: base64(`k${i % 1000}`), value: base64(VALUE) }),
    term: () => etcdTerm(clientPorts),
    exported: async () => {
      const range = { key: base64("e"), range_end: base64("f"), limit: documents };
      const { kvs = [] } = (await askEtcd(clientPorts[0], "kv/range", range)) as {
        kvs?: unknown[];
      };
      return kvs.length;
    },
    stop,
  };
}

/** Processes that want a processor all the time, and end by themselves. */
function startBusy(): ChildProcess[] {
  const forMs = (seconds + 180) * 1000;
  const code = `const end = Date.now() + ${forMs}; while (Date.now() < end);`;
  return Array.from({ length: Number(values.busy) }, () =>
    spawn(process.execPath, ["-e", code], { stdio: "ignore" }),
  );
}

interface Load {
  readonly acknowledgedMs: number[];
  readonly latencies: number[];
  readonly failed: Map<string, number>;
  stop(): Promise<void>;
}

/** So many writes a second, whether those before were answered or not. */
function startLoad(product: Product): Load {
  const [acknowledgedMs, latencies, failed] = [[] as number[], [] as number[], new Map()];
  const open = new Set<Promise<void>>();
  let [i, isOver] = [0, false];
  const one = async (): Promise<void> => {
    const startMs = systemClock.nowMs();
    try {
      await product.put(i);
      acknowledgedMs.push(systemClock.nowMs());
      latencies.push(systemClock.nowMs() - startMs);
    } catch (error) {
      const code = String((error as { code?: unknown }).code ?? error);
      failed.set(code, (failed.get(code) ?? 0) + 1);
    }
  };
  const startMs = systemClock.nowMs();
  const running = (async () => {
    while (!isOver) {
      const due = ((systemClock.nowMs() - startMs) / 1000) * Number(values.rate);
      for (; i < due; i += 1) {
        const put = one().finally(() => open.delete(put));
        open.add(put);
      }
      await sleep(systemClock, 5);
    }
    await Promise.all(open);
  })();
  const stop = async (): Promise<void> => {
    isOver = true;
    await running;
  };
  return { acknowledgedMs, latencies, failed, stop };
}

/** Longest time without an acknowledged write since then, in milliseconds. */
function longestGap(times: readonly number[], fromMs: number): number {
  let [last, gap] = [fromMs, 0];
  for (const atMs of times) {
    if (atMs < fromMs) continue;
    [gap, last] = [Math.max(gap, atMs - last), atMs];
  }
  return Math.round(Math.max(gap, systemClock.nowMs() - last));
}

function percentile(sorted: readonly number[], share: number): number {
  return Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN);
}

async function measure(product: Product): Promise<void> {
  const busy = startBusy();
  try {
    const before = await product.term();
    const load = startLoad(product);
    const startMs = systemClock.nowMs();
    const exports = { whole: 0, failed: 0 };
    while (systemClock.nowMs() < startMs + seconds * 1000) {
      const count = await product.exported().catch(() => -1);
      if (count === documents) exports.whole += 1;
      else exports.failed += 1;
    }
    const changes = (await product.term()) - before;
    const gapMs = longestGap(load.acknowledgedMs, startMs);
    const sorted = load.latencies.toSorted((a, b) => a - b);
    const [median, p99] = [percentile(sorted, 0.5), percentile(sorted, 0.99)];
    const failed = Object.fromEntries(load.failed);
    const acknowledged = sorted.length;
    const hits: Record<string, { gapMs: number; terms: number }> = {};
    for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
      if (product.hit === undefined) continue;
      const [term, hitMs] = [await product.term(), systemClock.nowMs()];
      await product.hit(signal, SETTLE_MS);
      await sleep(systemClock, SETTLE_MS);
      const hit = { gapMs: longestGap(load.acknowledgedMs, hitMs) };
      hits[signal] = { ...hit, terms: (await product.term()) - term };
    }
    await load.stop();
    const { rate } = values;
    const setting = { busy: busy.length, seconds, rate, etcd: values.etcd };
    const latencyMs = { median, p99, longestGap: gapMs };
    console.log(JSON.stringify({ ...setting, changes, acknowledged, failed, latencyMs, exports }));
    if (product.hit !== undefined) console.log(JSON.stringify(hits));
  } finally {
    for (const one of busy) one.kill("SIGKILL");
  }
}

endClustersOnSignal();
const directory = mkdtempSync(join(tmpdir(), "cstore-starved-"));
const product = values.etcd ? await etcdProduct(directory) : await startCstore();
try {
  await measure(product);
} finally {
  await product.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
