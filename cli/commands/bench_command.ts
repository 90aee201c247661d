/**
 * `cstore bench throughput` and `cstore bench failover`.
 *
 * @module
 */

import { printSize } from "../../src/base/units.ts";
import { endClustersOnSignal } from "../local/local_cluster.ts";
import { type FailoverRound, runFailover } from "../measure/failover.ts";
import {
  type MastersFailoverResult,
  type MastersRound,
  runMastersFailover,
} from "../measure/masters_failover.ts";
import { runThroughput, type ThroughputResult } from "../measure/throughput.ts";
import { modeOption } from "../mode_options.ts";
import {
  choiceOption,
  durationOption,
  flagOption,
  numberOption,
  type RawOptions,
  shareOption,
  textOption,
} from "../options.ts";
import { print, printJson, table, tell, UsageError } from "../output.ts";

/** Operations a second and latency. */
export async function benchThroughput(options: RawOptions): Promise<void> {
  endClustersOnSignal();
  const address = textOption(options, "address");
  const rateText = textOption(options, "rate") ?? "max";
  const rate =
    rateText === "max"
      ? undefined
      : numberOption(options, "rate", { min: 1, max: 10_000_000, fallback: 0 });
  const settings = {
    nodes: numberOption(options, "nodes", { min: 1, max: 9, fallback: 3 }),
    address,
    clients: numberOption(options, "clients", { min: 1, max: 1024, fallback: 1 }),
    inFlight: numberOption(options, "inFlight", { min: 1, max: 100_000, fallback: 64 }),
    rate,
    valueBytes: numberOption(options, "valueBytes", { min: 32, max: 1_000_000, fallback: 128 }),
    durationMs: durationOption(options, "duration", 10_000),
    warmupMs: durationOption(options, "warmup", 1000),
    readRatio: shareOption(options, "readRatio", 0),
    mode: modeOption(options),
    ack: choiceOption(options, "ack", { allowed: ["one", "majority", "all"], fallback: "one" }),
    syncMode: choiceOption(options, "syncMode", { allowed: ["sync", "async"], fallback: "sync" }),
    compression: choiceOption(options, "compression", {
      allowed: ["auto", "zstd", "none"],
      fallback: "auto",
    }),
    data: textOption(options, "data"),
  };
  if (address === undefined)
    tell("starting a cluster of its own; clients and nodes share this machine's cores");
  const result = await runThroughput(settings);
  if (flagOption(options, "json")) {
    printJson(result);
    return;
  }
  printThroughput(result, rate === undefined);
}

function printThroughput(result: ThroughputResult, isClosed: boolean): void {
  const { latencyMs } = result;
  print(
    Object.entries(result.settings)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}=${String(value)}`)
      .join("  "),
  );
  print();
  const from = isClosed ? "from sending" : "from the planned start";
  print(
    `${result.opsPerSecond} operations a second (${result.operations} in all, ${printSize(result.bytes)})`,
  );
  print(
    `latency ${from}, ms: ${Object.entries(latencyMs)
      .map(([name, value]) => `${name} ${value.toFixed(3)}`)
      .join("  ")}`,
  );
  print(
    `errors: ${Object.keys(result.errors).length === 0 ? "none" : JSON.stringify(result.errors)}`,
  );
  print(`raw write + fdatasync of 4 KiB on this disk: ${result.fdatasyncMs} ms (median)`);
  print(`a second: ${result.perSecond.join(" ")}`);
  print();
  for (const line of result.histogram) print(line);
  print();
  const rows = result.nodes.map((node) => [
    node.id,
    node.cpuCores.toFixed(2),
    printSize(node.rssBytes),
  ]);
  print(
    table(
      ["node", "cores", "memory"],
      [...rows, ["client", result.client.cpuCores.toFixed(2), "-"]],
    ),
  );
}

/** Measures the outage that clients see when the leader goes. */
export async function benchFailover(options: RawOptions): Promise<void> {
  endClustersOnSignal();
  const json = flagOption(options, "json");
  const fault = choiceOption(options, "fault", {
    allowed: ["kill", "pause", "promote"],
    fallback: "kill",
  });
  if (modeOption(options) === "MULTI_MASTER") return benchMasters(options, fault);
  let number = 0;
  const show = (round: FailoverRound): void => {
    number += 1;
    if (!json) printRound(number, round);
  };
  const result = await runFailover({ ...failoverSettings(options), fault }, show);
  if (json) {
    printJson(result);
    return;
  }
  print();
  const rows = Object.entries(result.summary).map(([name, value]) => {
    return [name, value.min.toFixed(1), value.median.toFixed(1), value.max.toFixed(1)];
  });
  print(table(["ms", "min", "median", "max"], rows));
  printTotals(result.totals);
}

function failoverSettings(options: RawOptions): {
  readonly nodes: number;
  readonly rounds: number;
  readonly rate: number;
  readonly data: string | undefined;
} {
  return {
    nodes: numberOption(options, "nodes", { min: 3, max: 9, fallback: 3 }),
    rounds: numberOption(options, "rounds", { min: 1, max: 10_000, fallback: 10 }),
    rate: numberOption(options, "rate", { min: 1, max: 100_000, fallback: 500 }),
    data: textOption(options, "data"),
  };
}

/** Kills each node in turn, and times what the writers at the others see. */
async function benchMasters(options: RawOptions, fault: string): Promise<void> {
  if (fault !== "kill") {
    throw new UsageError(`--fault ${fault} is of the leader; with --mode multi-master it is kill`);
  }
  const json = flagOption(options, "json");
  let number = 0;
  const result = await runMastersFailover(failoverSettings(options), (round) => {
    number += 1;
    if (!json) printMastersRound(number, round);
  });
  if (json) return printJson(result);
  const { median, max } = result.longestGapMs;
  print();
  print(`longest gap of a writer at another node, ms: median ${median}  max ${max}`);
  printTotals(result.totals);
}

function printMastersRound(number: number, round: MastersRound): void {
  print(
    `round ${number}: ${round.killed} killed  longest gap elsewhere ${round.longestGapMs} ms  failed ${round.failedRequests}  all together ${round.togetherMs} ms after its start  lost ${round.lostAcknowledged} of ${round.acknowledged}`,
  );
  print(`  |${round.strip}|  10 ms a cell, kill at cell 20`);
}

function printTotals(totals: MastersFailoverResult["totals"]): void {
  const { acknowledged, failedRequests, lostAcknowledged } = totals;
  print(
    `${acknowledged} writes acknowledged, ${failedRequests} requests failed, ${lostAcknowledged} acknowledged writes lost`,
  );
}

function printRound(number: number, round: FailoverRound): void {
  print(
    `round ${number}: ${round.from} -> ${round.to}  detected ${round.detectMs}  elected ${round.electMs}  first write ${round.firstWriteMs}  longest gap ${round.longestGapMs} ms  failed ${round.failedRequests}  lost ${round.lostAcknowledged} of ${round.acknowledged}`,
  );
  print(`  |${round.strip}|  10 ms a cell, fault at cell 20`);
}
