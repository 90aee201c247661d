/**
 * Runs simulator seeds: `bun scripts/simulate.ts --seeds N --from S [--minutes M] [--plant NAME]
 * [--faults kind,kind] [--limits small] [--nodes N] [--json]`. Prints seeds run, simulated
 * seconds, faults by kind,
 * operations checked, and for each failure the command that replays it; exits with 1 on any.
 *
 * `--plants all` runs every planted bug until it is caught, up to `--seeds` seeds, and prints the
 * table of `docs/testing.md`; it fails if one survives. A plant that names a scenario is tried on that
 * test instead.
 */

import { execFileSync, spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { PLANTS, type Plant, plantNamed, sow } from "../test/simulation/plants.ts";
import type { FaultKind, SimulationResult } from "../test/simulation/simulator.ts";
import { sowSmallLimits } from "../test/simulation/small_limits.ts";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "20" },
    from: { type: "string", default: "1" },
    minutes: { type: "string" },
    plant: { type: "string" },
    plants: { type: "string" },
    faults: { type: "string" },
    limits: { type: "string" },
    nodes: { type: "string" },
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
  faults: Record<string, number>;
  operations: number;
  acknowledged: number;
  failures: Failure[];
}

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

function add(totals: Totals, result: SimulationResult): void {
  totals.seeds += 1;
  totals.simulatedSeconds += result.simulatedMs / 1000;
  totals.operations += result.operations;
  totals.acknowledged += result.acknowledged;
  for (const [kind, count] of Object.entries(result.faults)) {
    totals.faults[kind] = (totals.faults[kind] ?? 0) + count;
  }
  if (result.violation === undefined) return;
  const extra = [
    values.faults && `--faults ${values.faults}`,
    values.limits && `--limits ${values.limits}`,
    values.nodes && `--nodes ${values.nodes}`,
    values.plant && `--plant ${values.plant}`,
  ];
  const replay = [
    "bun scripts/simulate.ts --seeds 1 --from",
    result.seed,
    ...extra.filter(Boolean),
  ].join(" ");
  totals.failures.push({ seed: result.seed, ...result.violation, replay });
  say(`seed ${result.seed} failed at ${commit()}: ${result.violation.message}\n  ${replay}`);
}

async function runSeeds(): Promise<void> {
  if (values.limits === "small") sowSmallLimits();
  if (values.plant !== undefined) sow(plantNamed(values.plant));
  const { simulate } = await import("../test/simulation/simulator.ts");
  const totals: Totals = {
    seeds: 0,
    simulatedSeconds: 0,
    faults: {},
    operations: 0,
    acknowledged: 0,
    failures: [],
  };
  const first = Number(values.from);
  const endMs =
    values.minutes === undefined
      ? Number.POSITIVE_INFINITY
      : Date.now() + Number(values.minutes) * 60_000;
  const last =
    values.minutes === undefined ? first + Number(values.seeds) : Number.POSITIVE_INFINITY;
  const startMs = Date.now();
  for (let seed = first; seed < last && Date.now() < endMs; seed += 1) {
    const faults = values.faults?.split(",") as FaultKind[] | undefined;
    const nodes = values.nodes === undefined ? undefined : Number(values.nodes);
    add(
      totals,
      await simulate({ seed, ...(faults && { faults }), ...(nodes !== undefined && { nodes }) }),
    );
    if (values.plant !== undefined && totals.failures.length > 0) break;
  }
  totals.simulatedSeconds = Math.round(totals.simulatedSeconds);
  if (values.json) process.stdout.write(`${JSON.stringify(totals)}\n`);
  const faults = Object.entries(totals.faults)
    .map(([kind, count]) => `${kind} ${count}`)
    .join(", ");
  const speed = (totals.simulatedSeconds * 1000) / (Date.now() - startMs);
  say(
    `${totals.seeds} seeds from ${first}, ${totals.simulatedSeconds} simulated seconds (${speed.toFixed(0)} a second), ${totals.operations} operations checked, ${totals.acknowledged} acknowledged`,
  );
  say(`faults: ${faults}`);
  say(`${totals.failures.length} failures`);
  process.exit(totals.failures.length > 0 ? 1 : 0);
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
  const run = spawnSync(process.execPath, [...args, "test/simulation", "-t", `${scenario}`], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, CSTORE_PLANT: plant.name },
  });
  return run.status !== 0 && /^\s*[1-9]\d* fail$/m.test(run.stderr);
}

/** What was found about a plant: the seed that caught it, or the scenario, or nothing. */
interface Verdict {
  readonly seeds: string;
  readonly checker: string;
  readonly isCaught: boolean;
}

/** A seed counts only if it is clean without the plant. */
function tryPlant(plant: Plant): Verdict {
  if (plant.scenario !== undefined) {
    const isCaught = failsScenario(plant, plant.scenario);
    const test = `test "${plant.scenario.replace(":", "")}"`;
    return { seeds: "-", checker: isCaught ? test : `survived ${test}`, isCaught };
  }
  const setup = [
    ...(plant.faults === undefined ? [] : ["--faults", plant.faults.join(",")]),
    ...(plant.hasSmallLimits === true ? ["--limits", "small"] : []),
  ];
  const range = ["--seeds", values.seeds, "--from", values.from];
  const totals = runApart(["--plant", plant.name, ...range, ...setup]);
  if (totals.error !== "") return { seeds: "-", checker: totals.error, isCaught: false };
  const failure = totals.failures?.[0];
  if (failure !== undefined) {
    const control = runApart(["--seeds", "1", "--from", String(failure.seed), ...setup]);
    const isClean = control.failures?.length === 0;
    const checker = isClean ? failure.checker : `seed ${failure.seed} fails without it, too`;
    return { seeds: String(totals.seeds), checker, isCaught: isClean };
  }
  return { seeds: `survived ${totals.seeds}`, checker: "-", isCaught: false };
}

function runPlants(): void {
  const wanted =
    values.plants === "all"
      ? PLANTS
      : PLANTS.filter((plant) => values.plants?.split(",").includes(plant.name));
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

if (values.plants !== undefined) runPlants();
else await runSeeds();
