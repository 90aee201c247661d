/**
 * Runs simulator seeds: `bun scripts/simulate.ts --seeds N --from S [--minutes M] [--workers W]
 * [--plant NAME] [--faults kind,kind] [--limits small] [--nodes N] [--mode MODE] [--json]`. Prints
 * seeds run, simulated seconds, faults by kind, operations checked, and for each failure the
 * command that replays it; exits with 1 on any. `--mode multi-master` adds clients of collections that every
 * node writes, `--mode master-slave` leaves them out; without it every fourth seed has them.
 *
 * With `--minutes` each core has a process of its own; `--workers` sets their number. Each runs
 * every W-th seed, and one report covers them all.
 *
 * `--plants all` runs every planted bug until it is caught, up to `--seeds` seeds, and prints the
 * table of `docs/testing.md`; it fails if one survives. With `--rounds N` each runs N times, from
 * other seeds, and the median counts. A plant that names a scenario is tried on that
 * test instead.
 */

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import type { Plant } from "../test/simulation/plant.ts";
import { PLANTS, plantNamed, sow } from "../test/simulation/plants.ts";
import type { FaultKind, SimulationResult } from "../test/simulation/simulator.ts";
import { sowSmallLimits } from "../test/simulation/small_limits.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "20" },
    from: { type: "string", default: "1" },
    minutes: { type: "string" },
    workers: { type: "string" },
    stride: { type: "string", default: "1" },
    plant: { type: "string" },
    plants: { type: "string" },
    rounds: { type: "string", default: "1" },
    faults: { type: "string" },
    limits: { type: "string" },
    nodes: { type: "string" },
    mode: { type: "string" },
    json: { type: "boolean", default: false },
  },
});

interface Failure {
  readonly seed: number;
  readonly checker: string;
  readonly message: string;
  readonly replay: string;
}

interface Totals {
  seeds: number;
  simulatedSeconds: number;
  /** CPU time of all processes together. */
  cpuSeconds: number;
  faults: Record<string, number>;
  operations: number;
  acknowledged: number;
  failures: Failure[];
}

/** Whether another process of this program reads the printed lines. */
const isWorker = values.json && values.workers === "1";

function say(line: string): void {
  if (!values.json) process.stdout.write(`${line}\n`);
}

function commit(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown"; // Not a checkout: the seed still replays on the same sources.
  }
}

function emptyTotals(): Totals {
  return {
    seeds: 0,
    simulatedSeconds: 0,
    cpuSeconds: 0,
    faults: {},
    operations: 0,
    acknowledged: 0,
    failures: [],
  };
}

function add(totals: Totals, result: SimulationResult): void {
  totals.seeds += 1;
  totals.simulatedSeconds += result.simulatedMs / 1000;
  totals.operations += result.operations;
  totals.acknowledged += result.acknowledged;
  addFaults(totals, result.faults);
  if (result.violation === undefined) return;
  const extra = [
    values.faults && `--faults ${values.faults}`,
    values.limits && `--limits ${values.limits}`,
    values.nodes && `--nodes ${values.nodes}`,
    values.mode && `--mode ${values.mode}`,
    values.plant && `--plant ${values.plant}`,
  ];
  const replay = [
    "bun scripts/simulate.ts --seeds 1 --from",
    result.seed,
    ...extra.filter(Boolean),
  ].join(" ");
  const failure = { seed: result.seed, ...result.violation, replay };
  totals.failures.push(failure);
  if (isWorker) process.stdout.write(`${JSON.stringify({ failure })}\n`);
  tell(failure);
}

function tell({ seed, message, replay }: Failure): void {
  say(`seed ${seed} failed at ${commit()}: ${message}\n  ${replay}`);
}

function addFaults(totals: Totals, faults: Readonly<Record<string, number>>): void {
  for (const [kind, count] of Object.entries(faults))
    totals.faults[kind] = (totals.faults[kind] ?? 0) + count;
}

async function runSeeds(): Promise<void> {
  if (values.limits === "small") sowSmallLimits();
  if (values.plant !== undefined) sow(plantNamed(values.plant));
  const { simulate } = await import("../test/simulation/simulator.ts");
  const totals = emptyTotals();
  const first = Number(values.from);
  const stride = Number(values.stride);
  const isTimed = values.minutes !== undefined;
  const startMs = Date.now();
  const endMs = isTimed ? startMs + Number(values.minutes) * 60_000 : Number.POSITIVE_INFINITY;
  const last = isTimed ? Number.POSITIVE_INFINITY : first + Number(values.seeds);
  const faults = values.faults?.split(",") as FaultKind[] | undefined;
  const nodes = values.nodes === undefined ? undefined : Number(values.nodes);
  for (let seed = first; seed < last && Date.now() < endMs; seed += stride) {
    add(
      totals,
      await simulate({
        seed,
        ...(faults && { faults }),
        ...(nodes !== undefined && { nodes }),
        ...(values.mode === "multi-master" && { masters: true }),
        ...(values.mode === "master-slave" && { masters: false }),
      }),
    );
    if (values.plant !== undefined && totals.failures.length > 0) break;
  }
  totals.cpuSeconds = process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6;
  report(totals, Date.now() - startMs);
}

/** Prints the totals, and ends. */
function report(totals: Totals, tookMs: number): void {
  const { seeds, simulatedSeconds, cpuSeconds, operations, acknowledged } = totals;
  if (values.json) process.stdout.write(`${JSON.stringify(totals)}\n`);
  const faults = Object.entries(totals.faults)
    .map(([kind, count]) => `${kind} ${count}`)
    .join(", ");
  const speed = ((simulatedSeconds * 1000) / tookMs).toFixed(0);
  const perCpu = (simulatedSeconds / cpuSeconds).toFixed(0);
  say(
    `${seeds} seeds from ${values.from}, ${simulatedSeconds.toFixed(0)} simulated seconds (${speed} a second, ${perCpu} a second of CPU), ${operations} operations checked, ${acknowledged} acknowledged`,
  );
  say(`faults: ${faults}`);
  say(`${totals.failures.length} failures`);
  process.exit(totals.failures.length > 0 ? 1 : 0);
}

/** Runs seeds in several processes, each every n-th of them, and reports on them as on one. */
async function runWorkers(count: number): Promise<void> {
  const totals = emptyTotals();
  const startMs = Date.now();
  const parts = await Promise.all(Array.from({ length: count }, (_, i) => runWorker(i, count)));
  for (const part of parts) {
    totals.seeds += part.seeds;
    totals.simulatedSeconds += part.simulatedSeconds;
    totals.cpuSeconds += part.cpuSeconds;
    totals.operations += part.operations;
    totals.acknowledged += part.acknowledged;
    totals.failures.push(...part.failures);
    addFaults(totals, part.faults);
  }
  totals.failures.sort((a, b) => a.seed - b.seed);
  report(totals, Date.now() - startMs);
}

/** One process with every `count`-th seed. What it finds is printed at once. */
async function runWorker(number: number, count: number): Promise<Totals> {
  const passed = ["minutes", "faults", "limits", "nodes", "plant"] as const;
  const args = passed.flatMap((name) => (values[name] ? [`--${name}`, values[name]] : []));
  const range = ["--from", String(Number(values.from) + number), "--stride", String(count)];
  range.push("--seeds", String(Number(values.seeds) - number));
  const child = spawn(
    process.execPath,
    [import.meta.path, ...args, ...range, "--workers", "1", "--json"],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let totals: Totals | undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const said = JSON.parse(line) as Totals | { readonly failure: Failure };
    if ("failure" in said) tell(said.failure);
    else totals = said;
  }
  if (totals === undefined) throw new Error(`Worker ${number} ended without a report`);
  return totals;
}

/** Runs seeds in another process: a plant changes modules as they are loaded. */
function runApart(args: readonly string[]): Partial<Totals> & { readonly error: string } {
  const run = spawnSync(process.execPath, [import.meta.path, ...args, "--json"], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (run.stdout === "") return { error: run.stderr.slice(0, 300) };
  return { ...(JSON.parse(run.stdout) as Totals), error: "" };
}

/** Whether a test of the scenarios fails with the plant. */
function failsScenario(plant: Plant, scenario: string): boolean {
  const root = new URL("..", import.meta.url).pathname;
  const args = ["test", "--preload", "./test/simulation/sow.ts", "--timeout", "60000"];
  const folders = ["simulation", "raft", "multi_master", "node", "storage", "database"];
  const paths = folders.map((folder) => `test/${folder}`);
  const run = spawnSync(process.execPath, [...args, ...paths, "-t", scenario], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, CSTORE_PLANT: plant.name },
  });
  return run.status !== 0 && /^\s*[1-9]\d* fail$/m.test(run.stderr);
}

/** The verdict on a plant: the seed that caught it, or the scenario, or nothing. */
interface Verdict {
  readonly seeds: string;
  readonly checker: string;
  readonly isCaught: boolean;
}

/** A seed counts only if it is clean without the plant. */
function tryPlant(plant: Plant): Verdict {
  if (plant.scenario !== undefined) {
    const isCaught = failsScenario(plant, plant.scenario);
    const test = `test "${plant.scenario.replace(/:$/, "")}"`;
    return { seeds: "-", checker: isCaught ? test : `survived ${test}`, isCaught };
  }
  const rounds = Array.from({ length: Number(values.rounds) }, (_, round) =>
    trySeeds(plant, Number(values.from) + round * ROUND_STRIDE),
  );
  const missed = rounds.find((round) => !round.isCaught);
  if (missed !== undefined) {
    return { seeds: `survived ${missed.seeds}`, checker: missed.checker, isCaught: false };
  }
  const sorted = rounds.sort((a, b) => a.seeds - b.seeds);
  const checkers = [...new Set(rounds.map(({ checker }) => checker))].join(", ");
  return { seeds: String(sorted[sorted.length >> 1]!.seeds), checker: checkers, isCaught: true };
}

/** Between the first seeds of two rounds. */
const ROUND_STRIDE = 10_000;

/** How many seeds one round needed. */
interface Round {
  readonly seeds: number;
  readonly checker: string;
  readonly isCaught: boolean;
}

function trySeeds(plant: Plant, from: number): Round {
  const setup = [
    ...(plant.faults === undefined ? [] : ["--faults", plant.faults.join(",")]),
    ...(plant.mode === undefined ? [] : ["--mode", plant.mode]),
    ...(plant.hasSmallLimits === true ? ["--limits", "small"] : []),
  ];
  const range = ["--seeds", values.seeds, "--from", String(from)];
  const totals = runApart(["--plant", plant.name, ...range, ...setup]);
  if (totals.error !== "") return { seeds: 0, checker: totals.error, isCaught: false };
  const { seeds = 0, failures: [failure] = [] } = totals;
  if (failure === undefined) return { seeds, checker: "-", isCaught: false };
  const control = runApart(["--seeds", "1", "--from", String(failure.seed), ...setup]);
  const isCaught = control.failures?.length === 0;
  const checker = isCaught ? failure.checker : `seed ${failure.seed} fails without it, too`;
  return { seeds, checker, isCaught };
}

function runPlants(): void {
  const names = values.plants ?? "all";
  const wanted = names === "all" ? PLANTS : names.split(",").map(plantNamed);
  let survivors = 0;
  const rows: object[] = [];
  say("| plant | what is wrong | seeds | caught by |");
  say("| ----- | ------------- | ----: | --------- |");
  for (const plant of wanted) {
    const verdict = tryPlant(plant);
    if (!verdict.isCaught) survivors += 1;
    rows.push({ plant: plant.name, ...verdict });
    say(`| ${plant.name} | ${plant.about} | ${verdict.seeds} | ${verdict.checker} |`);
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ plants: rows, survivors })}\n`);
  process.exit(survivors > 0 ? 1 : 0);
}

const workers = Number(
  values.workers ?? (values.minutes === undefined ? 1 : availableParallelism()),
);
if (values.plants !== undefined) runPlants();
else if (workers > 1) await runWorkers(workers);
else await runSeeds();
