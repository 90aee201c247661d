/**
 * Kill a node of a cluster where every node takes writes, with a writer at each node, and time what
 * the writers elsewhere see. Every acknowledged write, those of the killed node too, is looked for
 * on every node once it is up again.
 *
 * @module
 */

import { connect, type NodeStatus, type RemoteDatabase } from "../../src/mod.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { LocalCluster, type LocalNode } from "../local/local_cluster.ts";
import { type Acknowledged, longestGap, startLoad, stripOf, tenth } from "./failover.ts";
import { machine, median } from "./report.ts";

/** Options of the measurement. */
export interface MastersFailoverOptions {
  readonly nodes: number;
  readonly rounds: number;
  /** Writes a second at each node, from a fixed schedule. */
  readonly rate: number;
  readonly data?: string | undefined;
}

/** One round. */
export interface MastersRound {
  readonly killed: string;
  /** Longest time without an acknowledged write at any one of the other nodes, in milliseconds. */
  readonly longestGapMs: number;
  /** At the other nodes. */
  readonly failedRequests: number;
  /** From its start again until all nodes had all operations, in milliseconds. */
  readonly togetherMs: number;
  readonly acknowledged: number;
  /** Acknowledged writes that some node does not have. */
  readonly lostAcknowledged: number;
  /** One character for every 10 ms from 200 ms before the kill: writes acknowledged elsewhere. */
  readonly strip: string;
}

/** All rounds. */
export interface MastersFailoverResult {
  readonly fault: "kill";
  readonly rounds: readonly MastersRound[];
  readonly longestGapMs: { readonly median: number; readonly max: number };
  readonly totals: {
    readonly acknowledged: number;
    readonly failedRequests: number;
    readonly lostAcknowledged: number;
  };
  readonly settings: object;
}

const NAME = "failover-every-node";
const BEFORE_MS = 1500;
const AFTER_MS = 1500;
const TOGETHER_MS = 30_000;
const POLL_MS = 20;

/** Runs the rounds, one after the other, on one cluster; the nodes take turns. */
export async function runMastersFailover(
  options: MastersFailoverOptions,
  onRound: (round: MastersRound) => void = () => undefined,
): Promise<MastersFailoverResult> {
  const cluster = await LocalCluster.start({ nodes: options.nodes, data: options.data });
  const rounds: MastersRound[] = [];
  const databases = new Map<LocalNode, RemoteDatabase>();
  try {
    await everyNodeWrites(cluster.addresses.split(","), NAME);
    for (const node of cluster.nodes) {
      databases.set(node, await connect(node.address, { timeoutMs: 10_000 }));
    }
    for (let number = 0; number < options.rounds; number += 1) {
      const round = await runRound(cluster, databases, { ...options, number });
      rounds.push(round);
      onRound(round);
    }
  } finally {
    for (const database of databases.values()) await database.close();
    await cluster.stop();
  }
  const gaps = rounds.map(({ longestGapMs }) => longestGapMs);
  const sum = (pick: (round: MastersRound) => number): number =>
    rounds.reduce((total, round) => total + pick(round), 0);
  return {
    fault: "kill",
    rounds,
    longestGapMs: { median: tenth(median(gaps)), max: tenth(Math.max(...gaps)) },
    totals: {
      acknowledged: sum((round) => round.acknowledged),
      failedRequests: sum((round) => round.failedRequests),
      lostAcknowledged: sum((round) => round.lostAcknowledged),
    },
    settings: { ...options, mode: "MULTI_MASTER", ...machine() },
  };
}

/** Creates the collection, unless it is there, and waits until every node takes its writes. */
export async function everyNodeWrites(addresses: readonly string[], name: string): Promise<void> {
  const database = await connect(addresses.join(","));
  try {
    await database.createCollection(name, { mode: "MULTI_MASTER" });
  } finally {
    await database.close();
  }
  await untilAll(addresses, ({ masters }) => masters?.state === "ready");
}

/** Waits until every node's status is as wanted; gives how long it took, in milliseconds. */
async function untilAll(
  addresses: readonly string[],
  isWanted: (status: NodeStatus) => boolean,
): Promise<number> {
  const startMs = systemClock.nowMs();
  for (const address of addresses) {
    const database = await connect(address, { timeoutMs: TOGETHER_MS });
    try {
      while (!isWanted(await database.status())) {
        if (systemClock.nowMs() - startMs > TOGETHER_MS) {
          throw new Error(`${address} is not ready after ${TOGETHER_MS} ms`);
        }
        await sleep(systemClock, POLL_MS);
      }
    } finally {
      await database.close();
    }
  }
  return systemClock.nowMs() - startMs;
}

async function runRound(
  cluster: LocalCluster,
  databases: ReadonlyMap<LocalNode, RemoteDatabase>,
  options: MastersFailoverOptions & { readonly number: number },
): Promise<MastersRound> {
  const { number, rate } = options;
  const loads = [...databases].map(([node, database]) => {
    const load = startLoad(database, { rate, round: `${number}-${node.id}`, name: NAME });
    return { node, load };
  });
  await sleep(systemClock, BEFORE_MS);
  const killed = cluster.nodes[number % cluster.nodes.length];
  const faultMs = systemClock.nowMs();
  killed?.process?.signal("SIGKILL");
  await sleep(systemClock, AFTER_MS);
  const writers = loads.map(async ({ node, load }) => ({ node, ...(await load.stop()) }));
  const elsewhere = await Promise.all(writers.filter((_, i) => loads[i]?.node !== killed));
  if (killed !== undefined) cluster.startNode(killed);
  const togetherMs = await untilAll(cluster.addresses.split(","), isTogether);
  const all = (await Promise.all(writers)).flatMap(({ acknowledged }) => acknowledged);
  await untilAll(cluster.addresses.split(","), isTogether);
  const acks = (writes: readonly Acknowledged[]): number[] =>
    writes.map(({ ackMs }) => ackMs).sort((a, b) => a - b);
  const gaps = elsewhere.map(({ acknowledged }) => longestGap(acks(acknowledged), faultMs));
  return {
    killed: killed?.id ?? "",
    longestGapMs: tenth(Math.max(...gaps)),
    failedRequests: elsewhere.reduce((total, { failed }) => total + failed, 0),
    togetherMs: Math.round(togetherMs),
    acknowledged: all.length,
    lostAcknowledged: await countMissing([...databases.values()], all),
    strip: stripOf(acks(elsewhere.flatMap(({ acknowledged }) => acknowledged)), faultMs),
  };
}

function isTogether({ masters }: NodeStatus): boolean {
  const isWhole = masters?.streams.every(({ isUp, operations }) => isUp && operations === 0);
  return masters?.state === "ready" && isWhole === true;
}

/** Acknowledged writes that some node does not show. */
async function countMissing(
  databases: readonly RemoteDatabase[],
  acknowledged: readonly Acknowledged[],
): Promise<number> {
  const handles = databases.map((database) => database.collection<{ id: string }>(NAME));
  let missing = 0;
  const queue = [...acknowledged];
  const readers = Array.from({ length: 64 }, async () => {
    for (let write = queue.pop(); write !== undefined; write = queue.pop()) {
      const { id } = write;
      const found = await Promise.all(handles.map((handle) => handle.findById(id)));
      if (found.includes(undefined)) missing += 1;
    }
  });
  await Promise.all(readers);
  return missing;
}
