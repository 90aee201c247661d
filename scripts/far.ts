/**
 * Leaders on long and thin lines: three processes behind proxies that delay, jitter, thin out and
 * reset what passes. Counts changes of term under load, and measures how long nobody acknowledges a
 * write after a kill, and with `--away MB` what a follower is sent that was away for so many.
 * `bun scripts/far.ts --rtt 100 --jitter 50 --mbit 10 --seconds 30`.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { connect, type RemoteDatabase } from "../src/mod.ts";
import { sleep, systemClock } from "../src/platform/clock.ts";
import { ChaosCluster } from "../test/chaos/chaos_cluster.ts";
import { CLIENTS, LinkFaults } from "../test/chaos/link_faults.ts";

const NODES = 3;
const WARM_UP_MS = 3000;

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
  },
});
const number = (name: keyof typeof values): number => Number(values[name]);
const directory = mkdtempSync(join(tmpdir(), "cstore-far-"));
const links = new LinkFaults();

/** What every line is like, in both directions. */
function lay(): void {
  const ends = [...Array.from({ length: NODES }, (_, i) => `n${i + 1}`), CLIENTS];
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
  for (let from = 1; from <= NODES; from += 1) {
    for (let to = 1; to <= NODES; to += 1) {
      if (from !== to) links.begin({ kind: "cut", from: `n${from}`, to: `n${to}` })();
    }
  }
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

function load(database: RemoteDatabase): Load {
  const done: number[] = [];
  const failed = new Map<string, number>();
  const value = "v".repeat(number("size"));
  let isOver = false;
  const worker = async (at: number): Promise<void> => {
    for (let i = 0; !isOver; i += 1) {
      try {
        await database.collection("far").put({ id: `${at}-${i % 100}`, value });
        done.push(systemClock.nowMs());
      } catch (error) {
        const code = String((error as { readonly code?: unknown }).code);
        failed.set(code, (failed.get(code) ?? 0) + 1);
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
  return gap;
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

async function measure(cluster: ChaosCluster): Promise<void> {
  const database = await connect(cluster.addresses, { timeoutMs: number("timeout") * 1000 });
  await sleep(systemClock, WARM_UP_MS);
  const before = await termOf(cluster);
  const fromMs = systemClock.nowMs();
  const running = load(database);
  const endMs = fromMs + number("seconds") * 1000;
  for (let resetMs = fromMs; systemClock.nowMs() < endMs; ) {
    await sleep(systemClock, 100);
    if (number("reset") === 0 || systemClock.nowMs() - resetMs < number("reset") * 1000) continue;
    resetAll();
    resetMs = systemClock.nowMs();
  }
  const changes = (await termOf(cluster)) - before;
  const rounds: { readonly gapMs: number; readonly terms: number }[] = [];
  for (let round = 0; round < number("kills"); round += 1) {
    const leader = await cluster.leader();
    if (leader === undefined) break;
    const term = await termOf(cluster);
    const killedMs = systemClock.nowMs();
    await cluster.kill(leader);
    await sleep(systemClock, 3000 + 10 * number("rtt"));
    const gapMs = Math.round(longestGap(running.done, killedMs - 200));
    rounds.push({ gapMs, terms: (await termOf(cluster)) - term });
    await cluster.startNode(leader);
    await sleep(systemClock, 3000 + 10 * number("rtt"));
  }
  await running.stop();
  const away = number("away") === 0 ? {} : { away: await catchUp(cluster, database) };
  const perSecond = running.done.filter((atMs) => atMs < endMs).length / number("seconds");
  const failed = Object.fromEntries(running.failed);
  const { rtt, jitter, mbit, reset, writers, size } = values;
  console.log(
    JSON.stringify({
      ...{ rtt, jitter, mbit, reset, writers, size, changes },
      ...{ perSecond: Math.round(perSecond), failed, kills: rounds },
      ...away,
    }),
  );
  await database.close();
}

lay();
const cluster = await ChaosCluster.start({
  ...{ nodes: NODES, directory, links, wantsSmallDisk: false, hasSmallLimits: false },
});
try {
  await measure(cluster);
  for (const failure of cluster.failures) console.error(failure);
} finally {
  await cluster.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit(0);
