/**
 * Runs groups of micro benchmarks on tinybench and reports medians: as a table for people, or as
 * one JSON line a result.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { Bench } from "tinybench";
import { machine } from "../../cli/measure/report.ts";

/** One thing to measure. */
export interface MicroTask {
  readonly name: string;
  /** Operations in one call of `run`. */
  readonly operations: number;
  /** The goal to be reached, if there is one. */
  readonly target?: Target;
  readonly note?: string;
  /** One call is one sample. */
  readonly run: () => void | Promise<void>;
}

/** A lower bound of operations a second, or an upper bound of the time for one. */
export type Target =
  | { readonly opsPerSecondMin: number }
  | { readonly medianMicrosecondsMax: number };

/** Tasks that share what they run on. */
export interface OpenGroup {
  readonly tasks: readonly MicroTask[];
  close(): Promise<void>;
}

/** A file of benchmarks. */
export interface MicroGroup {
  readonly name: string;
  /** Makes what the tasks need; `directory` is an empty folder on a real disk. */
  open(directory: string): Promise<OpenGroup>;
}

/** Results of a task. */
export interface MicroResult {
  readonly group: string;
  readonly name: string;
  /** From the median sample. */
  readonly opsPerSecond: number;
  /** Median time of one call, divided by its operations. */
  readonly medianMicroseconds: number;
  /** Time of one whole call. */
  readonly p99Microseconds: number;
  readonly samples: number;
  readonly operationsPerSample: number;
  readonly target: Target | undefined;
  readonly isReached: boolean | undefined;
  readonly note: string | undefined;
}

interface MicroOptions {
  readonly timeMs: number;
  readonly only: string | undefined;
  readonly isJson: boolean;
  readonly data: string | undefined;
}

const USAGE = `Usage: bun bench/micro/micro.ts [--only NAME] [--time MS] [--data DIR] [--json]

  --only NAME   run groups and tasks with NAME in "group: task"
  --time MS     measured time of each task (default 1000), after a quarter of it to warm up
  --data DIR    folder for files; must be on a real disk (default: the system's folder for these)
  --json        one JSON line a result
`;

/** Reads the command line, runs the groups, prints. */
export async function runMicro(groups: readonly MicroGroup[]): Promise<void> {
  const options = readOptions();
  const results: MicroResult[] = [];
  const print = (line: string): boolean => process.stdout.write(`${line}\n`);
  if (!options.isJson) print(`${JSON.stringify(machine())}\n\n${HEAD}`);
  for (const group of groups) {
    await runGroup(group, options, (result) => {
      results.push(result);
      print(options.isJson ? JSON.stringify({ ...result, machine: machine() }) : lineOf(result));
    });
  }
  if (results.length > 0) return;
  process.stderr.write(`no benchmark has "${options.only ?? ""}" in its name\n`);
  process.exitCode = 2;
}

function readOptions(): MicroOptions {
  const { values } = parseArgs({
    options: {
      only: { type: "string" },
      time: { type: "string", default: "1000" },
      data: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const timeMs = Number(values.time);
  if (values.help || !(timeMs > 0)) {
    process.stdout.write(USAGE);
    process.exit(values.help ? 0 : 2);
  }
  return { timeMs, only: values.only, isJson: values.json, data: values.data };
}

async function runGroup(
  group: MicroGroup,
  options: MicroOptions,
  onResult: (result: MicroResult) => void,
): Promise<void> {
  const directory = mkdtempSync(join(options.data ?? tmpdir(), "cstore-bench-"));
  const { tasks, close } = await group.open(directory);
  try {
    for (const task of tasks) {
      if (!`${group.name}: ${task.name}`.includes(options.only ?? "")) continue;
      onResult(await runTask(group.name, task, options.timeMs));
    }
  } finally {
    await close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Each task has a bench of its own, so that no task pays for what another left behind. */
async function runTask(group: string, task: MicroTask, timeMs: number): Promise<MicroResult> {
  const bench = new Bench({ time: timeMs, iterations: 5, warmupTime: timeMs / 4, throws: true });
  bench.add(task.name, task.run);
  const [done] = await bench.run();
  const result = done?.result;
  if (result === undefined || !("latency" in result)) {
    throw new Error(`"${group}: ${task.name}" was not measured`);
  }
  const { p50, p99, samplesCount } = result.latency;
  const medianMicroseconds = (p50 * 1000) / task.operations;
  const opsPerSecond = 1e6 / medianMicroseconds;
  return {
    group,
    name: task.name,
    opsPerSecond: Math.round(opsPerSecond),
    medianMicroseconds: Number(medianMicroseconds.toPrecision(4)),
    p99Microseconds: Number((p99 * 1000).toPrecision(4)),
    samples: samplesCount,
    operationsPerSample: task.operations,
    target: task.target,
    isReached: isReached(task.target, opsPerSecond, medianMicroseconds),
    note: task.note,
  };
}

function isReached(
  target: Target | undefined,
  opsPerSecond: number,
  medianMicroseconds: number,
): boolean | undefined {
  if (target === undefined) return undefined;
  if ("opsPerSecondMin" in target) return opsPerSecond >= target.opsPerSecondMin;
  return medianMicroseconds <= target.medianMicrosecondsMax;
}

const HEAD = `${"benchmark".padEnd(58)} ${"ops/s".padStart(12)} ${"us/op".padStart(10)}   target`;

function lineOf(result: MicroResult): string {
  const name = `${result.group}: ${result.name}`.padEnd(58);
  const ops = result.opsPerSecond.toLocaleString("en").padStart(12);
  const time = String(result.medianMicroseconds).padStart(10);
  const note = result.note === undefined ? "" : `  (${result.note})`;
  return `${name} ${ops} ${time}   ${targetText(result)}${note}`.trimEnd();
}

function targetText({ target, isReached }: MicroResult): string {
  if (target === undefined) return "";
  const verdict = isReached === true ? "reached" : "MISSED";
  if ("opsPerSecondMin" in target) {
    return `>= ${target.opsPerSecondMin.toLocaleString("en")} ops/s: ${verdict}`;
  }
  return `<= ${target.medianMicrosecondsMax} us: ${verdict}`;
}
