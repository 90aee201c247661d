/**
 * `cstore bench throughput` and `cstore bench failover`.
 *
 * @module
 */

import { printSize } from "../../src/base/units.ts";
import { endClustersOnSignal } from "../local/local_cluster.ts";
import { type FailoverRound, runFailover } from "../measure/failover.ts";
import { runThroughput } from "../measure/throughput.ts";
import {
  choiceOption,
  durationOption,
  flagOption,
  numberOption,
  type RawOptions,
  shareOption,
  textOption,
} from "../options.ts";
import { print, printJson, table, tell } from "../output.ts";

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
  const { latencyMs } = result;
  print(
    Object.entries(result.settings)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}=${String(value)}`)
      .join("  "),
  );
  print();
  const from = rate === undefined ? "from sending" : "from the planned start";
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
  let number = 0;
  const show = (round: FailoverRound): void => {
    number += 1;
    if (!json) printRound(number, round);
  };
  const result = await runFailover(
    {
      nodes: numberOption(options, "nodes", { min: 3, max: 9, fallback: 3 }),
      rounds: numberOption(options, "rounds", { min: 1, max: 10_000, fallback: 10 }),
      fault,
      rate: numberOption(options, "rate", { min: 1, max: 100_000, fallback: 500 }),
      data: textOption(options, "data"),
    },
    show,
  );
  if (json) {
    printJson(result);
    return;
  }
  print();
  const rows = Object.entries(result.summary).map(([name, value]) => {
    return [name, value.min.toFixed(1), value.median.toFixed(1), value.max.toFixed(1)];
  });
  print(table(["ms", "min", "median", "max"], rows));
  const { acknowledged, failedRequests, lostAcknowledged } = result.totals;
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
