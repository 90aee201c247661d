/**
 * Kill, pause or replace the leader under a steady load of writes, and time what clients see. Every
 * acknowledged write is recorded and read back at the end of its round.
 *
 * @module
 */

import type { CStoreError } from "../../src/base/errors.ts";
import { connect, type RemoteDatabase } from "../../src/mod.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { LocalCluster, type LocalNode } from "../local/local_cluster.ts";
import { machine, median } from "./report.ts";

/** Options of the measurement. */
export interface FailoverOptions {
  readonly nodes: number;
  readonly rounds: number;
  readonly fault: "kill" | "pause" | "promote";
  /** Writes a second, from a fixed schedule. */
  readonly rate: number;
  readonly data?: string | undefined;
}

/** One round. Times in milliseconds since the fault. */
export interface FailoverRound {
  readonly from: string;
  readonly to: string;
  /** Until another node started to campaign (seen as a term above the old one). */
  readonly detectMs: number;
  /** Until another node led. */
  readonly electMs: number;
  /** Until the first write that was sent after the fault was acknowledged. */
  readonly firstWriteMs: number;
  /** Longest time without an acknowledged write. */
  readonly longestGapMs: number;
  readonly failedRequests: number;
  readonly acknowledged: number;
  readonly lostAcknowledged: number;
  /** One character for every 10 ms from 200 ms before the fault: writes acknowledged. */
  readonly strip: string;
}

/** All rounds. */
export interface FailoverResult {
  readonly fault: string;
  readonly rounds: readonly FailoverRound[];
  readonly summary: Readonly<
    Record<string, { readonly min: number; readonly median: number; readonly max: number }>
  > & {
    readonly totals?: never;
  };
  readonly totals: {
    readonly acknowledged: number;
    readonly failedRequests: number;
    readonly lostAcknowledged: number;
  };
  readonly settings: object;
}

/** Steady load before the fault; the node that the last round restarted has settled by then. */
const BEFORE_MS = 2000;
const AFTER_MS = 1500;
/** A round without an acknowledged write goes on for so long. */
const LATE_MS = 20_000;
const PAUSE_MS = 1500;
const CELL_MS = 10;
const STRIP_BEFORE_MS = 200;
const STRIP_CELLS = 100;

/** Runs the rounds, one after the other, on one cluster. */
export async function runFailover(
  options: FailoverOptions,
  onRound: (round: FailoverRound) => void = () => undefined,
): Promise<FailoverResult> {
  const cluster = await LocalCluster.start({ nodes: options.nodes, data: options.data });
  const rounds: FailoverRound[] = [];
  try {
    const database = await connect(cluster.addresses, { timeoutMs: 10_000 });
    try {
      await database.collection("warm").put({ id: "up" });
      for (let round = 0; round < options.rounds; round += 1) {
        const result = await runRound(cluster, database, { ...options, round });
        rounds.push(result);
        onRound(result);
      }
    } finally {
      await database.close();
    }
  } finally {
    await cluster.stop();
  }
  const { fault } = options;
  return {
    fault,
    rounds,
    summary: summarise(rounds),
    totals: totalsOf(rounds),
    settings: { ...options, ...machine() },
  };
}

function totalsOf(rounds: readonly FailoverRound[]): FailoverResult["totals"] {
  const sum = (pick: (round: FailoverRound) => number): number =>
    rounds.reduce((total, round) => total + pick(round), 0);
  return {
    acknowledged: sum((round) => round.acknowledged),
    failedRequests: sum((round) => round.failedRequests),
    lostAcknowledged: sum((round) => round.lostAcknowledged),
  };
}

function summarise(rounds: readonly FailoverRound[]): FailoverResult["summary"] {
  const summary: Record<string, { min: number; median: number; max: number }> = {};
  for (const name of ["detectMs", "electMs", "firstWriteMs", "longestGapMs"] as const) {
    const values = rounds.map((round) => round[name]);
    summary[name] = {
      min: tenth(Math.min(...values)),
      median: tenth(median(values)),
      max: tenth(Math.max(...values)),
    };
  }
  return summary as FailoverResult["summary"];
}

export function tenth(value: number): number {
  return Math.round(value * 10) / 10;
}

export interface Acknowledged {
  readonly id: string;
  readonly sentMs: number;
  readonly ackMs: number;
}

async function runRound(
  cluster: LocalCluster,
  database: RemoteDatabase,
  options: FailoverOptions & { readonly round: number },
): Promise<FailoverRound> {
  const leader = await cluster.waitForLeader();
  const before = await cluster.status(leader);
  const load = startLoad(database, options);
  await sleep(systemClock, BEFORE_MS);
  const watch = watchElection(cluster, { leader, oldTerm: before?.term ?? 0 });
  const faultMs = systemClock.nowMs();
  const to = await injectFault(cluster, leader, { fault: options.fault, database });
  await sleep(systemClock, AFTER_MS);
  const lateMs = systemClock.nowMs() + LATE_MS;
  while (!load.hasAcknowledgedSince(faultMs) && systemClock.nowMs() < lateMs) {
    await sleep(systemClock, 20);
  }
  const elected = await watch.stop();
  if (options.fault === "pause") await cluster.signal(leader, "SIGCONT");
  const { acknowledged, failed } = await load.stop();
  if (options.fault === "kill") cluster.startNode(leader);
  const lostAcknowledged = await countLost(database, acknowledged);
  const acks = acknowledged.map((write) => write.ackMs).sort((a, b) => a - b);
  const first = acknowledged
    .filter((write) => write.sentMs >= faultMs)
    .reduce((low, write) => Math.min(low, write.ackMs), Number.POSITIVE_INFINITY);
  return {
    from: leader.id,
    to: elected.to || to,
    detectMs: tenth(elected.detectedMs - faultMs),
    electMs: tenth(elected.electedMs - faultMs),
    firstWriteMs: tenth(first - faultMs),
    longestGapMs: tenth(longestGap(acks, faultMs)),
    failedRequests: failed,
    acknowledged: acknowledged.length,
    lostAcknowledged,
    strip: stripOf(acks, faultMs),
  };
}

async function injectFault(
  cluster: LocalCluster,
  leader: LocalNode,
  how: { readonly fault: FailoverOptions["fault"]; readonly database: RemoteDatabase },
): Promise<string> {
  if (how.fault === "kill") {
    leader.process?.signal("SIGKILL");
    return "";
  }
  if (how.fault === "pause") {
    await cluster.signal(leader, "SIGSTOP");
    setTimeout(() => void cluster.signal(leader, "SIGCONT"), PAUSE_MS);
    return "";
  }
  const next = cluster.nodes.find((node) => node.id !== leader.id && node.process !== undefined);
  await how.database.promote(next?.id ?? "");
  return next?.id ?? "";
}

/** Writes with unique ids at a fixed rate. */
export function startLoad(
  database: RemoteDatabase,
  options: { readonly rate: number; readonly round: number | string; readonly name?: string },
): {
  hasAcknowledgedSince(fromMs: number): boolean;
  stop(): Promise<{ acknowledged: Acknowledged[]; failed: number }>;
} {
  const collection = database.collection<{ id: string; n: number }>(options.name ?? "failover");
  const acknowledged: Acknowledged[] = [];
  const startMs = systemClock.nowMs();
  let failed = 0;
  let begun = 0;
  let underway = 0;
  let isStopped = false;
  const beat = (): void => {
    const due = Math.floor(((systemClock.nowMs() - startMs) / 1000) * options.rate);
    for (; begun < due; begun += 1) {
      const id = `r${options.round}-${begun}`;
      const sentMs = systemClock.nowMs();
      underway += 1;
      collection.put({ id, n: begun }).then(
        () => {
          underway -= 1;
          acknowledged.push({ id, sentMs, ackMs: systemClock.nowMs() });
        },
        (_error: CStoreError) => {
          underway -= 1;
          failed += 1;
        },
      );
    }
    if (!isStopped) systemClock.setTimer(1, beat);
  };
  beat();
  return {
    hasAcknowledgedSince: (fromMs) => acknowledged.some((write) => write.sentMs >= fromMs),
    async stop() {
      isStopped = true;
      while (underway > 0) await sleep(systemClock, 5);
      return { acknowledged, failed };
    },
  };
}

/** Polls the other nodes for the new leader. */
function watchElection(
  cluster: LocalCluster,
  old: { readonly leader: LocalNode; readonly oldTerm: number },
): { stop(): Promise<{ detectedMs: number; electedMs: number; to: string }> } {
  let detectedMs = Number.NaN;
  let electedMs = Number.NaN;
  let to = "";
  let isStopped = false;
  const others = cluster.nodes.filter(
    (node) => node.id !== old.leader.id && node.process !== undefined,
  );
  const watchers = others.map(async (node) => {
    const database = await connect(node.address, { timeoutMs: 2000 }).catch(() => undefined);
    while (!isStopped && database !== undefined) {
      const status = await database.status().catch(() => undefined);
      const nowMs = systemClock.nowMs();
      const term = Number(status?.["term"] ?? 0);
      const isCampaigning = String(status?.["role"] ?? "").includes("candidate");
      if (Number.isNaN(detectedMs) && (isCampaigning || term > old.oldTerm)) detectedMs = nowMs;
      if (status?.["role"] === "leader" && term > old.oldTerm && Number.isNaN(electedMs)) {
        electedMs = nowMs;
        to = node.id;
      }
      await sleep(systemClock, 1);
    }
    await database?.close();
  });
  return {
    async stop() {
      isStopped = true;
      await Promise.all(watchers);
      return { detectedMs, electedMs, to };
    },
  };
}

export function longestGap(acks: readonly number[], faultMs: number): number {
  let longest = 0;
  for (let i = 1; i < acks.length; i += 1) {
    const end = acks[i] ?? 0;
    // Only gaps that reach behind the fault are its doing.
    if (end > faultMs) longest = Math.max(longest, end - (acks[i - 1] ?? 0));
  }
  return longest;
}

const LEVELS = " ▁▂▃▄▅▆▇█";

export function stripOf(acks: readonly number[], faultMs: number): string {
  const cells = new Array<number>(STRIP_CELLS).fill(0);
  for (const ms of acks) {
    const cell = Math.floor((ms - faultMs + STRIP_BEFORE_MS) / CELL_MS);
    if (cell >= 0 && cell < STRIP_CELLS) cells[cell] = (cells[cell] ?? 0) + 1;
  }
  const usual = Math.max(1, median(cells.filter((count) => count > 0)) * 2);
  return cells
    .map(
      (count) =>
        LEVELS[count === 0 ? 0 : Math.max(1, Math.min(8, Math.round((count / usual) * 8)))] ?? " ",
    )
    .join("");
}

/** Reads back every acknowledged write. */
async function countLost(
  database: RemoteDatabase,
  acknowledged: readonly Acknowledged[],
): Promise<number> {
  const collection = database.collection<{ id: string }>("failover");
  let lost = 0;
  const queue = [...acknowledged];
  const readers = Array.from({ length: 64 }, async () => {
    for (let write = queue.pop(); write !== undefined; write = queue.pop()) {
      if ((await collection.findById(write.id)) === undefined) lost += 1;
    }
  });
  await Promise.all(readers);
  return lost;
}
