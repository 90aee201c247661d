/**
 * Chaos on real processes: `bun scripts/chaos.ts --minutes N --nodes 5 [--history FILE]`. Starts a
 * cluster, breaks it in every way that `test/chaos/faults.ts` knows, and judges what clients saw.
 * Exits with 1 on any failure, with 2 on a wrong command line.
 *
 * @module
 */

import { existsSync, readdirSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { FAULT_KINDS, type FaultKind } from "../test/chaos/faults.ts";
import { readHistoryFile } from "../test/chaos/history_file.ts";
import { type ChaosOptions, type ChaosResult, DEFAULTS, runChaos } from "../test/chaos/run.ts";
import { judge } from "../test/chaos/verdict.ts";
import { plantNamed } from "../test/simulation/plants.ts";

const USAGE = `Usage: bun scripts/chaos.ts [--minutes 1 | --kills N] [options]
       bun scripts/chaos.ts --check FILE [--json]

  --minutes N      how long faults go on (default ${DEFAULTS.minutes}; fractions are allowed)
  --kills N        instead: N times, kill every node at once under load and start all again
  --nodes N        processes, 3 to 9 (default ${DEFAULTS.nodes})
  --faults LIST    kinds to draw from, with commas (default all):
                   ${FAULT_KINDS.join(" ")}
  --gap MS         mean time between two faults (default ${DEFAULTS.gapMs})
  --connections N  client connections, three clients on each (default ${DEFAULTS.connections})
  --keys N         keys at a time; others every four seconds (default ${DEFAULTS.keys})
  --seed N         of the faults and clients (default: drawn); processes are not repeatable
  --history FILE   write what the clients saw, one JSON object a line
  --data DIR       keep data and logs there (default: a fresh folder, kept after a failure)
  --check FILE     judge a history that was written before
  --limits KIND    small or shipped, for segments, snapshots and the kept log (default small,
                   so that a run of minutes uses all of them)
  --plant NAME     nodes run with a bug of test/simulation/plants.ts, which the run should find
  --json           the result as one line of JSON, the last line of stdout
  --quiet          no progress on stderr
`;

/** A command line that cannot be carried out. */
class UsageError extends Error {}

interface Command {
  readonly options: Partial<ChaosOptions>;
  readonly check: string | undefined;
  readonly isJson: boolean;
}

function readCommand(): Command {
  const text = { type: "string" } as const;
  const flag = { type: "boolean", default: false } as const;
  const { values } = parseArgs({
    options: {
      minutes: text,
      kills: text,
      nodes: text,
      faults: text,
      gap: text,
      connections: text,
      keys: text,
      seed: text,
      history: text,
      data: text,
      check: text,
      plant: text,
      limits: text,
      json: flag,
      quiet: flag,
      help: { ...flag, short: "h" },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  const whole = (
    name: "nodes" | "gap" | "connections" | "keys" | "kills",
    low: number,
    high = 1e6,
  ) => {
    const given = values[name];
    if (given === undefined) return undefined;
    const number = Number(given);
    if (Number.isInteger(number) && number >= low && number <= high) return number;
    throw new UsageError(`--${name} is a whole number from ${low} to ${high}, not "${given}"`);
  };
  const minutes = Number(values.minutes ?? DEFAULTS.minutes);
  if (!(minutes > 0))
    throw new UsageError(`--minutes is a number above 0, not "${values.minutes}"`);
  if (values.minutes !== undefined && values.kills !== undefined) {
    throw new UsageError("--minutes and --kills are two different runs");
  }
  const drawn = Math.floor(Math.random() * 2 ** 31);
  const seed = Number(values.seed ?? drawn);
  if (!Number.isInteger(seed))
    throw new UsageError(`--seed is a whole number, not "${values.seed}"`);
  const options: Partial<ChaosOptions> = {
    minutes,
    seed,
    kills: whole("kills", 1),
    nodes: whole("nodes", 3, 9) ?? DEFAULTS.nodes,
    kinds: readKinds(values.faults),
    gapMs: whole("gap", 1) ?? DEFAULTS.gapMs,
    connections: whole("connections", 1, 100) ?? DEFAULTS.connections,
    keys: whole("keys", 1, 1000) ?? DEFAULTS.keys,
    history: values.history,
    data: readData(values.data),
    hasSmallLimits: readLimits(values.limits),
    plant: values.plant === undefined ? undefined : plantNamed(values.plant).name,
    tell: values.quiet ? () => undefined : (line) => void process.stderr.write(`${line}\n`),
  };
  return { options, check: values.check, isJson: values.json };
}

/** A folder with files is refused: an earlier cluster's would be taken for this one's. */
function readData(path: string | undefined): string | undefined {
  if (path !== undefined && existsSync(path) && readdirSync(path).length > 0) {
    throw new UsageError(`--data names an empty or new folder; "${path}" is not empty`);
  }
  return path;
}

function readLimits(kind = "small"): boolean {
  if (kind === "small" || kind === "shipped") return kind === "small";
  throw new UsageError(`--limits is small or shipped, not "${kind}"`);
}

function readKinds(list: string | undefined): readonly FaultKind[] {
  if (list === undefined) return FAULT_KINDS;
  const names = list.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !FAULT_KINDS.some((kind) => kind === name));
  if (unknown !== undefined) {
    throw new UsageError(`There is no fault "${unknown}"; there are ${FAULT_KINDS.join(", ")}`);
  }
  return FAULT_KINDS.filter((kind) => names.includes(kind));
}

function describe(result: Partial<ChaosResult>): string {
  const { minutes, faults = {}, operations, lostAcknowledged, linearizable } = result;
  const { digestsEqual, failures = [] } = result;
  const counts = Object.entries(faults).map(([kind, count]) => `${kind} ${count}`);
  const lines = [
    ...(minutes === undefined ? [] : [`${minutes} minutes`]),
    ...(counts.length === 0 ? [] : [`faults: ${counts.join(", ")}`]),
    `${operations} operations, ${lostAcknowledged} acknowledged writes lost`,
    `linearizable: ${linearizable ? "yes" : "NO"}`,
    ...(digestsEqual === undefined ? [] : [`replicas equal: ${digestsEqual ? "yes" : "NO"}`]),
    ...failures.map((failure) => `failure: ${failure}`),
    `${failures.length} failures`,
  ];
  return lines.join("\n");
}

async function main(): Promise<number> {
  const { options, check, isJson } = readCommand();
  let result: Partial<ChaosResult>;
  if (check !== undefined) {
    const history = readHistoryFile(check);
    result = { operations: history.length, ...judge(history) };
  } else {
    options.tell?.(`seed ${options.seed}`);
    const interrupt = new AbortController();
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (interrupt.signal.aborted) process.exit(130);
        process.stderr.write("ending early: the judgement follows; once more to end at once\n");
        interrupt.abort();
      });
    }
    result = await runChaos({ ...options, signal: interrupt.signal });
  }
  process.stdout.write(`${isJson ? JSON.stringify(result) : describe(result)}\n`);
  return result.failures?.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  const isUsage =
    error instanceof UsageError || (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS");
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`);
  if (isUsage) process.stderr.write("See bun scripts/chaos.ts --help\n");
  process.exitCode = isUsage ? 2 : 1;
}
