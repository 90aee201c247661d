/**
 * A workload against a cluster: operations a second, percentiles, errors by kind, what each node
 * used. Writes go through the public client with its sessions and checksums.
 *
 * With a rate the load is open: each operation has a planned start, and its latency counts from it,
 * so that a stall is not hidden by the requests that were not sent meanwhile. Without, the loop is
 * closed: each finished request starts the next.
 *
 * @module
 */

import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { CStoreError } from "../../src/base/errors.ts";
import { documentsRequest, writeRequest } from "../../src/client/collection/collection_writer.ts";
import { Client } from "../../src/client/connection/client.ts";
import {
  type Acknowledgement,
  type CollectionMode,
  connect,
  type NodeStatus,
} from "../../src/mod.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { encodeCollectionName } from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { readLevelNumber } from "../../src/protocol/wire/client_message.ts";
import { LocalCluster } from "../local/local_cluster.ts";
import { everyNodeWrites } from "./masters_failover.ts";
import { LatencyBars, type LatencyMs, latencyMs, machine, median, newHistogram } from "./report.ts";

/** Options of the measurement. */
export interface ThroughputOptions {
  readonly nodes: number;
  /** Measure this cluster instead of an own one. */
  readonly address?: string | undefined;
  readonly clients: number;
  readonly inFlight: number;
  /** Operations a second; undefined: as many as go. */
  readonly rate?: number | undefined;
  readonly valueBytes: number;
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly readRatio: number;
  readonly mode: CollectionMode;
  /** Of MULTI_MASTER: disks that a write waits for. */
  readonly ack: Acknowledgement;
  readonly syncMode: "sync" | "async";
  readonly compression: "auto" | "zstd" | "none";
  readonly data?: string | undefined;
  readonly keys?: number;
}

/** Results of the measurement. */
export interface ThroughputResult {
  readonly opsPerSecond: number;
  readonly latencyMs: LatencyMs;
  readonly operations: number;
  readonly bytes: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly settings: object;
  readonly nodes: readonly {
    readonly id: string;
    readonly cpuCores: number;
    readonly rssBytes: number;
  }[];
  readonly client: { readonly cpuCores: number };
  /** Median of a raw write + fdatasync of 4 KiB on the same disk, in milliseconds. */
  readonly fdatasyncMs: number;
  readonly histogram: readonly string[];
  readonly perSecond: readonly number[];
}

const NAMES = { MASTER_SLAVE: "bench", MULTI_MASTER: "bench-every-node" } as const;
const KEYS = 100_000;
/** Memory for the documents that are written again and again. */
const DOCUMENT_BYTES_MAX = 64 * 1024 * 1024;

interface Load {
  readonly clients: readonly Client[];
  readonly documents: readonly { readonly key: Uint8Array; readonly document: Uint8Array }[];
  readonly options: ThroughputOptions;
  readonly collection: Uint8Array;
}

/** Runs the workload. */
export async function runThroughput(options: ThroughputOptions): Promise<ThroughputResult> {
  const cluster = options.address === undefined ? await startCluster(options) : undefined;
  const addresses = (options.address ?? cluster?.addresses ?? "").split(",");
  const clients: Client[] = [];
  try {
    const { mode } = options;
    const isByAll = mode === "MULTI_MASTER";
    if (isByAll) await everyNodeWrites(addresses, NAMES[mode]);
    for (let i = 0; i < options.clients; i += 1) {
      // Where every node writes, the clients spread over the nodes.
      const own = isByAll ? addresses.slice(i % addresses.length).slice(0, 1) : addresses;
      clients.push(await Client.connect(own));
    }
    const fitting = Math.max(1, Math.floor(DOCUMENT_BYTES_MAX / options.valueBytes));
    const keyCount = Math.min(options.keys ?? KEYS, fitting);
    const documents = Array.from({ length: keyCount }, (_, i) => {
      const id = `key-${String(i).padStart(8, "0")}`;
      return { key: encodeKey(id), document: documentOf(id, options.valueBytes) };
    });
    const load: Load = {
      clients,
      documents,
      options,
      collection: encodeCollectionName(NAMES[mode]),
    };
    const fdatasyncMs = probeDisk(options.data ?? cluster?.data ?? ".");
    await drive(load, options.warmupMs);
    const before = await statuses(addresses);
    const cpuBefore = process.cpuUsage();
    const measured = await drive(load, options.durationMs);
    const cpu = process.cpuUsage(cpuBefore);
    const after = await statuses(addresses);
    const seconds = measured.elapsedMs / 1000;
    return {
      opsPerSecond: Math.round(measured.operations / seconds),
      latencyMs: latencyMs(measured.histogram),
      operations: measured.operations,
      bytes: measured.operations * (load.documents[0]?.document.byteLength ?? 0),
      errors: measured.errors,
      settings: { ...options, ...machine(), loop: options.rate === undefined ? "closed" : "open" },
      nodes: after.map((status) => nodeUse(status, before, seconds)),
      client: { cpuCores: round((cpu.user + cpu.system) / 1e6 / seconds) },
      fdatasyncMs,
      histogram: measured.bars.lines(),
      perSecond: measured.perSecond,
    };
  } finally {
    for (const client of clients) client.close();
    await cluster?.stop();
  }
}

function startCluster(options: ThroughputOptions): Promise<LocalCluster> {
  const extra = ["--sync-mode", options.syncMode, "--compression", options.compression];
  const onExit = (node: { readonly id: string }, how: number | string | null): void => {
    process.stderr.write(`node ${node.id} ended with ${how}\n`);
  };
  return LocalCluster.start({ nodes: options.nodes, data: options.data, extra, onExit });
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function nodeUse(
  status: NodeStatus,
  before: readonly NodeStatus[],
  seconds: number,
): { id: string; cpuCores: number; rssBytes: number } {
  const earlier = before.find((other) => other.id === status.id);
  const cpuMs = status.cpuMs - (earlier?.cpuMs ?? 0);
  return { id: status.id, cpuCores: round(cpuMs / 1000 / seconds), rssBytes: status.rssBytes };
}

async function statuses(addresses: readonly string[]): Promise<NodeStatus[]> {
  const found: NodeStatus[] = [];
  for (const address of addresses) {
    try {
      const database = await connect(address, { timeoutMs: 1000 });
      found.push(await database.status());
      await database.close();
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error; // A node that is down is left out.
    }
  }
  return found;
}

/** A document whose encoding has about the wanted size, of text that does compress. */
function documentOf(id: string, valueBytes: number): Uint8Array {
  const words = "alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima ";
  let text = "";
  while (text.length < valueBytes) text += words;
  const overhead = encodeCbor({ id, value: "" }).byteLength + 2;
  const value = text.slice(0, Math.max(0, valueBytes - overhead));
  return encodeCbor({ id, value }).slice();
}

interface Measured {
  readonly operations: number;
  readonly elapsedMs: number;
  readonly errors: Record<string, number>;
  readonly histogram: ReturnType<typeof newHistogram>;
  readonly bars: LatencyBars;
  readonly perSecond: number[];
}

function drive(load: Load, durationMs: number): Promise<Measured> {
  const { options } = load;
  return options.rate === undefined
    ? driveClosed(load, durationMs)
    : driveOpen(load, durationMs, options.rate);
}

/** Counts and times finished operations. */
class Recorder {
  readonly histogram = newHistogram();
  readonly bars = new LatencyBars();
  readonly errors: Record<string, number> = {};
  readonly perSecond: number[] = [];
  readonly startMs: number;
  operations = 0;

  constructor(startMs: number) {
    this.startMs = startMs;
  }

  done(fromMs: number, nowMs: number): void {
    this.operations += 1;
    const microseconds = Math.max(1, Math.min(60_000_000, Math.round((nowMs - fromMs) * 1000)));
    this.histogram.recordValue(microseconds);
    this.bars.add(microseconds);
    const second = Math.floor((nowMs - this.startMs) / 1000);
    this.perSecond[second] = (this.perSecond[second] ?? 0) + 1;
  }

  failed(error: CStoreError): void {
    this.errors[error.code] = (this.errors[error.code] ?? 0) + 1;
  }
}

function driveClosed(load: Load, durationMs: number): Promise<Measured> {
  const startMs = systemClock.nowMs();
  const recorder = new Recorder(startMs);
  const endMs = startMs + durationMs;
  let running = 0;
  return new Promise((resolve) => {
    const finish = (): void => {
      if (running > 0) return;
      const { operations, errors, histogram, bars, perSecond } = recorder;
      const elapsedMs = systemClock.nowMs() - startMs;
      resolve({ operations, elapsedMs, errors, histogram, bars, perSecond });
    };
    const next = (client: Client, fromMs = systemClock.nowMs()): void => {
      if (fromMs >= endMs) {
        running -= 1;
        finish();
        return;
      }
      operate(load, client, {
        done: () => {
          const nowMs = systemClock.nowMs();
          recorder.done(fromMs, nowMs);
          next(client, nowMs);
        },
        failed: (error) => {
          recorder.failed(error);
          next(client);
        },
      });
    };
    for (let i = 0; i < load.options.inFlight; i += 1) {
      const client = load.clients[i % load.clients.length];
      if (client === undefined) continue;
      running += 1;
      next(client);
    }
  });
}

function driveOpen(load: Load, durationMs: number, rate: number): Promise<Measured> {
  const startMs = systemClock.nowMs();
  const recorder = new Recorder(startMs);
  const total = Math.floor((durationMs / 1000) * rate);
  let begun = 0;
  let ended = 0;
  return new Promise((resolve) => {
    const end = (): void => {
      ended += 1;
      if (ended < total) return;
      const { operations, errors, histogram, bars, perSecond } = recorder;
      const elapsedMs = systemClock.nowMs() - startMs;
      resolve({ operations, elapsedMs, errors, histogram, bars, perSecond });
    };
    const beat = (): void => {
      const due = Math.min(total, Math.floor(((systemClock.nowMs() - startMs) / 1000) * rate) + 1);
      while (begun < due) {
        const plannedMs = startMs + (begun / rate) * 1000;
        const client = load.clients[begun % load.clients.length];
        begun += 1;
        if (client === undefined) continue;
        operate(load, client, {
          done: () => {
            recorder.done(plannedMs, systemClock.nowMs());
            end();
          },
          failed: (error) => {
            recorder.failed(error);
            end();
          },
        });
      }
      if (begun < total) systemClock.setTimer(1, beat);
    };
    beat();
  });
}

interface Outcome {
  done(): void;
  failed(error: CStoreError): void;
}

function operate(load: Load, client: Client, { done, failed }: Outcome): void {
  const drawn = load.documents[Math.floor(Math.random() * load.documents.length)];
  if (drawn === undefined) return;
  const { key, document } = drawn;
  const { collection } = load;
  const { mode, ack } = load.options;
  const isByAll = mode === "MULTI_MASTER";
  if (load.options.readRatio > 0 && Math.random() < load.options.readRatio) {
    client.submit(
      {
        kind: "READ",
        target: isByAll ? "any" : "leader",
        write: (writer) => {
          writer.u8(readLevelNumber(isByAll ? "stale" : "linearizable"));
          writer.u8(collection.byteLength).raw(collection).raw(key);
        },
      },
      done,
      failed,
    );
    return;
  }
  const operations = [{ kind: "PUT", key, document } as const];
  const write = { collection, operations };
  client.submit(isByAll ? writeRequest({ ...write, ack }) : documentsRequest(write), done, failed);
}

/** Median of 200 times write 4 KiB + fdatasync into a file filled with zeros. */
export function probeDisk(directory: string): number {
  const path = `${directory}/.probe-${process.pid}`;
  const file = openSync(path, "w+");
  const block = new Uint8Array(4096);
  const times: number[] = [];
  try {
    for (let i = 0; i < 200; i += 1) writeSync(file, block, 0, block.byteLength, i * 4096);
    fdatasyncSync(file);
    for (let i = 0; i < 200; i += 1) {
      const startMs = systemClock.nowMs();
      writeSync(file, block, 0, block.byteLength, i * 4096);
      fdatasyncSync(file);
      times.push(systemClock.nowMs() - startMs);
    }
  } finally {
    closeSync(file);
    rmSync(path, { force: true });
  }
  return Math.round(median(times) * 1000) / 1000;
}
