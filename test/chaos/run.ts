/**
 * One run: a cluster of processes, clients, faults or kills of everything, and then the judgement.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import { ChaosCluster } from "./chaos_cluster.ts";
import { FAULT_KINDS, type FaultKind, FaultScheduler } from "./faults.ts";
import { type SeenOperation, writeHistoryFile } from "./history_file.ts";
import { LinkFaults } from "./link_faults.ts";
import { Load } from "./load.ts";
import { compareReplicas } from "./replica_states.ts";
import { judge } from "./verdict.ts";

/** What to run. */
export interface ChaosOptions {
  readonly nodes: number;
  /** How long faults go on; ignored with `kills`. */
  readonly minutes: number;
  /** So many times every node is killed at once, instead of other faults. */
  readonly kills: number | undefined;
  readonly kinds: readonly FaultKind[];
  /** Mean time between two faults, in milliseconds. */
  readonly gapMs: number;
  readonly connections: number;
  readonly keys: number;
  readonly seed: number;
  /** Where to write the history. */
  readonly history: string | undefined;
  /** Folder for data and logs, which stay; when absent a fresh one, kept after a failure only. */
  readonly data: string | undefined;
  /** Segments, snapshots and the kept log are small, so that all of them are used. */
  readonly hasSmallLimits: boolean;
  /** Name of a planted bug that the run is to find. */
  readonly plant: string | undefined;
  /** Ends the faults before their time; the judgement follows all the same. */
  readonly signal: AbortSignal | undefined;
  /** Progress, for people. */
  readonly tell: (line: string) => void;
}

/** Options of a run of which nothing is asked in particular. */
export const DEFAULTS: ChaosOptions = {
  nodes: 5,
  minutes: 1,
  kills: undefined,
  kinds: FAULT_KINDS,
  gapMs: 700,
  connections: 4,
  keys: 6,
  seed: 1,
  history: undefined,
  data: undefined,
  hasSmallLimits: true,
  plant: undefined,
  signal: undefined,
  tell: () => undefined,
};

/** The result; the last line of `--json`. */
export interface ChaosResult {
  readonly minutes: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly operations: number;
  readonly lostAcknowledged: number;
  readonly linearizable: boolean;
  readonly digestsEqual: boolean;
  readonly failures: readonly string[];
}

const ROUND_MS = 4000;
const CLIENTS_EACH = 3;
const THINK_MS = 8;
/** Shorter than many faults, so that clients see unknown outcomes. */
const TIMEOUT_MS = 2500;
/** Without faults the cluster must serve every key again in so long. */
const RECOVERY_MS = 60_000;
const TOLD_EVERY_MS = 10_000;

/** The parts of a run. */
interface Parts {
  readonly options: ChaosOptions;
  readonly cluster: ChaosCluster;
  readonly links: LinkFaults;
  readonly load: Load;
  readonly random: SeededRandom;
}

/** Runs and judges. Never throws for what the cluster does wrong: that is in `failures`. */
export async function runChaos(given: Partial<ChaosOptions>): Promise<ChaosResult> {
  const options: ChaosOptions = { ...DEFAULTS, ...given };
  const directory = options.data ?? mkdtempSync(join(tmpdir(), "cstore-chaos-"));
  const links = new LinkFaults();
  const random = new SeededRandom(options.seed);
  const startMs = systemClock.nowMs();
  const { nodes, plant, hasSmallLimits } = options;
  const wantsSmallDisk = options.kills === undefined && options.kinds.includes("smallDisk");
  const cluster = await ChaosCluster.start({
    nodes,
    directory,
    links,
    wantsSmallDisk,
    hasSmallLimits,
    plant,
  });
  if (wantsSmallDisk && cluster.nodes.every((node) => node.smallDisk === undefined)) {
    options.tell("mounting is not allowed here: smallDisk is left out");
  }
  const load = new Load(
    {
      connections: options.connections,
      clientsEach: CLIENTS_EACH,
      keys: options.keys,
      timeoutMs: TIMEOUT_MS,
      thinkMs: THINK_MS,
    },
    random,
  );
  let outcome: Outcome;
  try {
    outcome = await runParts({ options, cluster, links, load, random });
  } finally {
    await load.close();
    await cluster.stop();
  }
  const result = conclude(options, { ...outcome, cluster, load });
  const minutes = Math.round(((systemClock.nowMs() - startMs) / 60_000) * 100) / 100;
  if (options.history !== undefined) writeHistoryFile(options.history, load.history);
  const isKept = options.data !== undefined || result.failures.length > 0;
  if (isKept) options.tell(`data and logs of the nodes: ${directory}`);
  else rmSync(directory, { recursive: true, force: true });
  return { minutes, ...result };
}

interface Outcome {
  readonly faults: Readonly<Record<string, number>>;
  readonly digestsEqual: boolean;
  readonly failures: readonly string[];
}

async function runParts(parts: Parts): Promise<Outcome> {
  const { options, cluster, load } = parts;
  await load.start(cluster.addresses);
  const { faults, failures } =
    options.kills === undefined ? await injectFaults(parts) : await killAgain(parts, options.kills);
  await load.stop();
  options.tell("faults are over: reading every key, comparing the replicas");
  const isServing = await load.readAll(cluster.addresses, load.keys, RECOVERY_MS);
  if (!isServing) failures.push(`not every key could be read ${RECOVERY_MS} ms after the faults`);
  const comparison = await compareReplicas(cluster, load.keys, RECOVERY_MS);
  failures.push(...comparison.failures);
  const complaint = await cluster.verifyStates();
  if (complaint !== "") failures.push(`cstore cluster verify: ${complaint}`);
  await load.close();
  await cluster.verifyLogs();
  return { faults, digestsEqual: comparison.areEqual && complaint === "", failures };
}

async function injectFaults(
  parts: Parts,
): Promise<{ faults: Record<string, number>; failures: string[] }> {
  const { options, cluster, links, load, random } = parts;
  const scheduler = new FaultScheduler(
    {
      cluster,
      links,
      random,
      promote: (nodeId) => load.promote(nodeId),
      change: (request) => load.change(request),
      tell: (line) => options.tell(`${seconds(startMs)} ${line}`),
    },
    options,
  );
  const startMs = systemClock.nowMs();
  const endMs = startMs + options.minutes * 60_000;
  let toldMs = startMs;
  scheduler.start();
  while (systemClock.nowMs() < endMs && options.signal?.aborted !== true) {
    await sleep(systemClock, Math.min(ROUND_MS, endMs - systemClock.nowMs()));
    load.nextRound();
    if (systemClock.nowMs() - toldMs < TOLD_EVERY_MS) continue;
    toldMs = systemClock.nowMs();
    options.tell(
      `${seconds(startMs)} ${load.acknowledged} of ${load.history.length} operations acknowledged`,
    );
  }
  await scheduler.stop();
  // A node that a full disk or a bug ended must not hide from the comparison.
  for (const node of cluster.nodes) await cluster.startNode(node);
  return { faults: scheduler.counts, failures: [...scheduler.failures] };
}

/** Kills every node at once under load, starts all, and reads what was acknowledged; again. */
async function killAgain(
  parts: Parts,
  kills: number,
): Promise<{ faults: Record<string, number>; failures: string[] }> {
  const { options, cluster, load, random } = parts;
  const startMs = systemClock.nowMs();
  const failures: string[] = [];
  let done = 0;
  while (done < kills && options.signal?.aborted !== true) {
    await sleep(systemClock, 200 + random.below(1000));
    await Promise.all(cluster.nodes.map((node) => cluster.kill(node)));
    done += 1;
    const { roundKeys } = load;
    load.nextRound();
    await Promise.all(cluster.nodes.map((node) => cluster.startNode(node)));
    const isServing = await load.readAll(cluster.addresses, roundKeys, RECOVERY_MS);
    if (!isServing) {
      failures.push(`not every key could be read ${RECOVERY_MS} ms after kill ${done}`);
      break;
    }
    options.tell(`${seconds(startMs)} kill ${done}: ${load.acknowledged} operations acknowledged`);
  }
  return { faults: { killAll: done }, failures };
}

function conclude(
  options: ChaosOptions,
  run: Outcome & { readonly cluster: ChaosCluster; readonly load: Load },
): Omit<ChaosResult, "minutes"> {
  const { history } = run.load;
  options.tell(`judging ${history.length} operations on ${run.load.keys.length} keys`);
  const verdict = judge(history);
  const failures = [
    ...run.cluster.failures,
    ...run.load.failures,
    ...run.failures,
    ...verdict.failures,
    ...lacksProgress(history),
  ];
  const { linearizable, lostAcknowledged } = verdict;
  return {
    faults: run.faults,
    operations: history.length,
    lostAcknowledged,
    linearizable,
    digestsEqual: run.digestsEqual,
    failures,
  };
}

/** A run in which nothing was acknowledged proves nothing. */
function lacksProgress(history: readonly SeenOperation[]): string[] {
  const writes = history.filter(({ op, outcome }) => op !== "get" && outcome === "ok");
  return writes.length > 0 ? [] : ["no write was acknowledged"];
}

function seconds(startMs: number): string {
  return `${((systemClock.nowMs() - startMs) / 1000).toFixed(1).padStart(6)} s`;
}
