/**
 * cstore, etcd and Redis one after the other on this machine: three nodes each, every write on the
 * disks of a majority before its answer, the same load. Ratios hold for this machine and this hour.
 *
 * @module
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { endClustersOnSignal, LocalCluster } from "../../cli/local/local_cluster.ts";
import { machine } from "../../cli/measure/report.ts";
import { probeDisk, runThroughput } from "../../cli/measure/throughput.ts";
import { startEtcd } from "./etcd_peer.ts";
import { KEY_COUNT, loadPeer, type RunningPeer, VALUE_SIZE } from "./peer_load.ts";
import { MissingPeerError } from "./peer_process.ts";
import { startRedis } from "./redis_peer.ts";

interface Row {
  readonly peer: string;
  readonly setting: string;
  readonly inFlight: number;
  readonly opsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failed: number;
  readonly clientCores: number;
}

interface Options {
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly inFlight: readonly number[];
  readonly skip: readonly string[];
  readonly data: string;
  readonly isJson: boolean;
}

const USAGE = `Usage: bun bench/versus/versus.ts [--in-flight 1,64,512,4096] [--duration SECONDS]
                           [--warmup SECONDS] [--skip etcd,redis] [--data DIR] [--json]

etcd and Redis come from Debian: apt-get install etcd-server redis-server
`;

const NOTES = [
  "cstore: majority commit, fdatasync on each node before it counts, sessions and checksums on.",
  "etcd: as installed; driven by a small gRPC client of our own at the leader, which costs less CPU",
  "  than the official ones; each put is one call, as in cstore.",
  "Redis: SET + WAIT 1 with appendfsync always: two synced copies, but no consensus: a failover can",
  "  lose acknowledged writes. The faster of two ways to drive it counts for the ratio.",
  "All nodes and the load process share this machine's cores.",
];

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      "in-flight": { type: "string", default: "1,64,512,4096" },
      duration: { type: "string", default: "5" },
      warmup: { type: "string", default: "2" },
      skip: { type: "string", default: "" },
      data: { type: "string", default: tmpdir() },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const inFlight = values["in-flight"].split(",").map(Number);
  const durationMs = Number(values.duration) * 1000;
  const warmupMs = Number(values.warmup) * 1000;
  const isSound = inFlight.every((count) => Number.isInteger(count) && count > 0);
  if (values.help || !isSound || !(durationMs > 0) || !(warmupMs > 0)) {
    process.stdout.write(USAGE);
    process.exit(values.help ? 0 : 2);
  }
  const skip = values.skip.split(",");
  return { durationMs, warmupMs, inFlight, skip, data: values.data, isJson: values.json };
}

async function measureCstore(options: Options, directory: string): Promise<Row[]> {
  const data = `${directory}/cstore`;
  mkdirSync(data);
  endClustersOnSignal();
  const cluster = await LocalCluster.start({ nodes: 3, data });
  const rows: Row[] = [];
  try {
    for (const inFlight of options.inFlight) {
      const { opsPerSecond, latencyMs, errors, client } = await runThroughput({
        nodes: 3,
        address: cluster.addresses,
        clients: 1,
        inFlight,
        valueBytes: VALUE_SIZE,
        durationMs: options.durationMs,
        warmupMs: options.warmupMs,
        readRatio: 0,
        mode: "MASTER_SLAVE",
        ack: "one",
        syncMode: "sync",
        compression: "auto",
        data,
        keys: KEY_COUNT,
      });
      rows.push({
        peer: "cstore",
        setting: "put, one connection",
        inFlight,
        opsPerSecond,
        p50Ms: latencyMs.p50,
        p99Ms: latencyMs.p99,
        failed: Object.values(errors).reduce((sum, count) => sum + count, 0),
        clientCores: client.cpuCores,
      });
    }
  } finally {
    await cluster.stop();
  }
  return rows;
}

async function measurePeer(options: Options, start: () => Promise<RunningPeer>): Promise<Row[]> {
  const peer = await start();
  const rows: Row[] = [];
  try {
    for (const inFlight of options.inFlight) {
      for (const mode of peer.modes(inFlight)) {
        const figures = await loadPeer(mode, options);
        const { opsPerSecond, latencyMs, failed, clientCores } = figures;
        rows.push({
          peer: peer.name,
          setting: mode.setting,
          inFlight,
          opsPerSecond,
          p50Ms: latencyMs.p50,
          p99Ms: latencyMs.p99,
          failed,
          clientCores,
        });
      }
    }
  } finally {
    await peer.stop();
  }
  return rows;
}

interface Missing {
  readonly peer: string;
  readonly install: string;
}

async function measureAll(
  options: Options,
  directory: string,
): Promise<{ rows: Row[]; missing: Missing[] }> {
  const tell = (line: string): boolean => process.stderr.write(`${line}\n`);
  tell("measuring cstore ...");
  const rows = await measureCstore(options, directory);
  const missing: Missing[] = [];
  const peers = { etcd: startEtcd, redis: startRedis };
  for (const [name, start] of Object.entries(peers)) {
    if (options.skip.includes(name)) continue;
    tell(`measuring ${name} ...`);
    try {
      rows.push(...(await measurePeer(options, () => start(directory))));
    } catch (error) {
      if (!(error instanceof MissingPeerError)) throw error;
      tell(error.message);
      missing.push({ peer: error.peer, install: error.install });
    }
  }
  return { rows, missing };
}

/** cstore's operations a second for each one of the peer's best way. */
function ratios(rows: readonly Row[]): { peer: string; inFlight: number; times: number }[] {
  const best = (peer: string, inFlight: number): number => {
    const found = rows.filter((row) => row.peer === peer && row.inFlight === inFlight);
    return Math.max(0, ...found.map((row) => row.opsPerSecond));
  };
  const peers = new Set(rows.map((row) => row.peer));
  peers.delete("cstore");
  const counts = [...new Set(rows.map((row) => row.inFlight))];
  return [...peers].flatMap((peer) =>
    counts
      .filter((inFlight) => best(peer, inFlight) > 0)
      .map((inFlight) => {
        const times = best("cstore", inFlight) / best(peer, inFlight);
        return { peer, inFlight, times: Math.round(times * 10) / 10 };
      }),
  );
}

function print(rows: readonly Row[], missing: readonly Missing[]): void {
  const line = (cells: readonly string[]): string =>
    [
      cells[0]?.padEnd(8),
      ...cells.slice(1, 6).map((cell) => cell.padStart(10)),
      ` ${cells[6] ?? ""}`,
    ].join(" ");
  const all = ratios(rows);
  const lines = [line(["", "in flight", "ops/s", "p50 ms", "p99 ms", "failed", "how"])];
  for (const row of rows) {
    const figures = [row.inFlight, row.opsPerSecond, row.p50Ms, row.p99Ms, row.failed];
    lines.push(line([row.peer, ...figures.map((figure) => String(figure)), row.setting]));
  }
  lines.push("", "cstore's operations a second against theirs:");
  for (const { peer, inFlight, times } of all) {
    lines.push(`  ${String(inFlight).padStart(5)} in flight: ${times} x ${peer}`);
  }
  for (const { peer, install } of missing) lines.push(`${peer} is missing: ${install}`);
  process.stdout.write(`${[...lines, "", ...NOTES].join("\n")}\n`);
}

async function main(): Promise<void> {
  const options = readOptions();
  const directory = mkdtempSync(join(options.data, "cstore-versus-"));
  try {
    const fdatasyncMs = probeDisk(directory);
    if (!options.isJson) {
      process.stdout.write(`${JSON.stringify({ ...machine(), fdatasyncMs })}\n\n`);
    }
    const { rows, missing } = await measureAll(options, directory);
    if (!options.isJson) {
      print(rows, missing);
      return;
    }
    const { durationMs, warmupMs } = options;
    const settings = { ...machine(), fdatasyncMs, durationMs, warmupMs, valueBytes: VALUE_SIZE };
    const result = { rows, ratios: ratios(rows), missing, settings, notes: NOTES };
    process.stdout.write(`${JSON.stringify(result)}\n`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

await main();
