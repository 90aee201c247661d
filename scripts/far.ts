/**
 * Leaders on long and thin lines: three processes behind proxies that delay, jitter, thin out and
 * reset what passes. Counts changes of term under load, and measures how long nobody acknowledges a
 * write after a kill, and with `--away MB` what a follower is sent that was away for so many.
 * `bun scripts/far.ts --rtt 100 --jitter 50 --mbit 10 --seconds 30`; with `--etcd` three nodes of
 * etcd behind the same proxies, in the setting that it comes with.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import {
  askEtcd,
  base64,
  etcdTerm,
  findEtcdLeader,
  startEtcdNodes,
} from "../bench/versus/etcd_peer.ts";
import { connect, type RemoteDatabase } from "../src/mod.ts";
import { sleep, systemClock } from "../src/platform/clock.ts";
import { ChaosCluster } from "../test/chaos/chaos_cluster.ts";
import { CLIENTS, LinkFaults } from "../test/chaos/link_faults.ts";
import { TcpProxy } from "../test/chaos/tcp_proxy.ts";

const NODES = ["n1", "n2", "n3"] as const;
/** Stands for every node as the sender to another, where connections do not say which it is. */
const PEERS = "peers";
const WARM_UP_MS = 3000;
/** A node of etcd that still takes the dead leader for alive answers after seven seconds only. */
const ETCD_TIMEOUT_MS = 1000;

const text = { type: "string" } as const;
const { values } = parseArgs({
  options: {
    rtt: { ...text, default: "0" },
    jitter: { ...text, default: "0" },
    mbit: { ...text, default: "0" },
    reset: { ...text, default: "0" },
    seconds: { ...text, default: "20" },
    writers: { ...text, default: "8" },
    size: { ...text, default: "100" },
    kills: { ...text, default: "0" },
    away: { ...text, default: "0" },
    timeout: { ...text, default: "10" },
    etcd: { type: "boolean", default: false },
  },
});
const number = (name: Exclude<keyof typeof values, "etcd">): number => Number(values[name]);
const directory = mkdtempSync(join(tmpdir(), "cstore-far-"));
const links = new LinkFaults();

/** What is measured. */
interface Product {
  put(id: string, value: string): Promise<unknown>;
  term(): Promise<number>;
  /** Kills the leader; the result starts it again. */
  killLeader(): Promise<() => unknown>;
  /** Catches up a follower, where that is measured. */
  catchUp?(): Promise<object>;
  stop(): Promise<void>;
}

/** What every line is like, in both directions. */
function lay(): void {
  const ends = [...NODES, PEERS, CLIENTS];
  const delayMs = number("rtt") / 2;
  const jitterMs = (delayMs * number("jitter")) / 100;
  for (const from of ends) {
    for (const to of ends) {
      if (from === to) continue;
      if (delayMs > 0) links.begin({ kind: "delay", from, to, delayMs, jitterMs });
      const bytesPerSecond = (number("mbit") * 1e6) / 8;
      const isClients = from === CLIENTS || to === CLIENTS;
      if (bytesPerSecond > 0 && !isClients) links.begin({ kind: "thin", from, to, bytesPerSecond });
    }
  }
}

/** Resets every connection between nodes. */
function resetAll(): void {
  for (const from of [...NODES, PEERS]) {
    for (const to of NODES) if (from !== to) links.begin({ kind: "cut", from, to })();
  }
}

async function startCstore(): Promise<Product> {
  const cluster = await ChaosCluster.start({
    ...{ nodes: NODES.length, directory, links, wantsSmallDisk: false, hasSmallLimits: false },
  });
  const database = await connect(cluster.addresses, { timeoutMs: number("timeout") * 1000 });
  return {
    put: (id, value) => database.collection("far").put({ id, value }),
    term: () => termOf(cluster),
    killLeader: async () => {
      const leader = await cluster.leader();
      if (leader === undefined) throw new Error("nobody leads");
      await cluster.kill(leader);
      return () => cluster.startNode(leader);
    },
    catchUp: () => catchUp(cluster, database),
    stop: async () => {
      await database.close();
      for (const failure of cluster.failures) console.error(failure);
      await cluster.stop();
    },
  };
}

/** Through its JSON gateway, at the leader as long as that answers, then at the others in turn. */
async function startEtcd(): Promise<Product> {
  const proxies: TcpProxy[] = [];
  const behind = async (port: number, at: number, dialler: string): Promise<number> => {
    const proxy = new TcpProxy(NODES[at] ?? "", links, dialler);
    proxies.push(proxy);
    await proxy.attach(port);
    return Number(proxy.address.split(":")[1]);
  };
  let at = 0;
  const nodes = await startEtcdNodes(directory, (port) => behind(port, at++, PEERS));
  const { clientPorts } = nodes;
  const far = await Promise.all(clientPorts.map((port, i) => behind(port, i, CLIENTS)));
  const timeoutMs = number("kills") > 0 ? ETCD_TIMEOUT_MS : number("timeout") * 1000;
  let target = clientPorts.indexOf(await findEtcdLeader(clientPorts));
  return {
    put: async (id, value) => {
      const asked = target;
      const body = { key: base64(id), value: base64(value) };
      try {
        return await askEtcd(far[asked], "kv/put", body, timeoutMs);
      } catch (error) {
        if (asked === target) target = (target + 1) % far.length;
        throw error;
      }
    },
    term: () => etcdTerm(clientPorts),
    killLeader: async () => {
      const port = await findEtcdLeader(clientPorts);
      await nodes.kill(port);
      return () => nodes.restart(port);
    },
    stop: async () => {
      for (const proxy of proxies) await proxy.close();
      await nodes.stop();
    },
  };
}

async function termOf(cluster: ChaosCluster): Promise<number> {
  const answers = await Promise.all(cluster.nodes.map((node) => cluster.status(node, 2000)));
  return Math.max(0, ...answers.map((status) => status?.term ?? 0));
}

interface Load {
  readonly done: number[];
  readonly failed: Map<string, number>;
  stop(): Promise<void>;
}

function load(product: Product): Load {
  const done: number[] = [];
  const failed = new Map<string, number>();
  const value = "v".repeat(number("size"));
  let isOver = false;
  const worker = async (at: number): Promise<void> => {
    for (let i = 0; !isOver; i += 1) {
      try {
        await product.put(`${at}-${i % 100}`, value);
        done.push(systemClock.nowMs());
      } catch (error) {
        const { code, name } = error as { readonly code?: unknown; readonly name: string };
        const reason = String(code ?? name);
        failed.set(reason, (failed.get(reason) ?? 0) + 1);
      }
    }
  };
  const workers = Array.from({ length: number("writers") }, (_, at) => worker(at));
  return {
    done,
    failed,
    stop: async () => {
      isOver = true;
      await Promise.all(workers);
    },
  };
}

/** Longest time without an acknowledged write since then, in milliseconds. */
function longestGap(done: readonly number[], fromMs: number): number {
  let [last, gap] = [fromMs, 0];
  for (const atMs of done) {
    if (atMs < fromMs) continue;
    gap = Math.max(gap, atMs - last);
    last = atMs;
  }
  return Math.max(gap, systemClock.nowMs() - last);
}

/** A follower is away while so many megabytes are written, then catches up. */
async function catchUp(cluster: ChaosCluster, database: RemoteDatabase): Promise<object> {
  const leader = await cluster.leader();
  const away = cluster.nodes.find((node) => node !== leader);
  if (away === undefined) return {};
  await cluster.kill(away);
  const value = "v".repeat(10_000);
  for (let id = 0; id < number("away") * 100; id += 50) {
    const items = Array.from({ length: 50 }, (_, i) => ({ id: id + i, value }));
    await database.collection("away").insertMany(items);
  }
  const writtenBytes = number("away") * 1e6;
  const [term, sentBefore, startMs] = [
    await termOf(cluster),
    links.carriedTo(away.id),
    systemClock.nowMs(),
  ];
  await cluster.startNode(away);
  for (;;) {
    const [own, first] = await Promise.all([
      cluster.status(away, 2000),
      leader === undefined ? undefined : cluster.status(leader, 2000),
    ]);
    if (own !== undefined && own.appliedIndex >= (first?.commitIndex ?? 0)) break;
    await sleep(systemClock, 200);
  }
  const sentBytes = links.carriedTo(away.id) - sentBefore;
  const tookMs = Math.round(systemClock.nowMs() - startMs);
  const ratio = Number((sentBytes / writtenBytes).toFixed(3));
  return { writtenBytes, sentBytes, ratio, tookMs, terms: (await termOf(cluster)) - term };
}

async function measure(product: Product): Promise<void> {
  await sleep(systemClock, WARM_UP_MS);
  const before = await product.term();
  const fromMs = systemClock.nowMs();
  const running = load(product);
  const endMs = fromMs + number("seconds") * 1000;
  for (let resetMs = fromMs; systemClock.nowMs() < endMs; ) {
    await sleep(systemClock, 100);
    if (number("reset") === 0 || systemClock.nowMs() - resetMs < number("reset") * 1000) continue;
    resetAll();
    resetMs = systemClock.nowMs();
  }
  const changes = (await product.term()) - before;
  const failed = Object.fromEntries(running.failed);
  const rounds: { readonly gapMs: number; readonly terms: number }[] = [];
  for (let round = 0; round < number("kills"); round += 1) {
    const term = await product.term();
    const killedMs = systemClock.nowMs();
    const startAgain = await product.killLeader();
    await sleep(systemClock, 5000 + 10 * number("rtt"));
    const gapMs = Math.round(longestGap(running.done, killedMs));
    rounds.push({ gapMs, terms: (await product.term()) - term });
    await startAgain();
    await sleep(systemClock, 3000 + 10 * number("rtt"));
  }
  await running.stop();
  const away = number("away") === 0 ? {} : { away: await product.catchUp?.() };
  const acknowledged = running.done.length;
  const perSecond = running.done.filter((atMs) => atMs < endMs).length / number("seconds");
  const { rtt, jitter, mbit, reset, writers, size, etcd } = values;
  console.log(
    JSON.stringify({
      ...{ rtt, jitter, mbit, reset, writers, size, etcd, changes },
      ...{ acknowledged, perSecond: Math.round(perSecond), failed, kills: rounds },
      ...away,
    }),
  );
}

lay();
const product = values.etcd ? await startEtcd() : await startCstore();
try {
  await measure(product);
} finally {
  await product.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
