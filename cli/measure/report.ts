/**
 * The facts beside every measurement's figures: machine, runtime, settings; and latency pictures.
 *
 * @module
 */

import { cpus, release, totalmem } from "node:os";
import { build, type Histogram } from "hdr-histogram-js";
import { runtimeName } from "../../src/platform/process.ts";

/** Where a figure was measured. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly runtime: string;
}

/** This machine. */
export function machine(): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? "unknown",
    cores: all.length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: release(),
    runtime: runtimeName(),
  };
}

/** Latencies in microseconds, up to a minute, to three digits. */
export function newHistogram(): Histogram {
  return build({
    bitBucketSize: 32,
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: 3,
  });
}

/** Percentiles in milliseconds. */
export interface LatencyMs {
  readonly min: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Reads the usual percentiles. */
export function latencyMs(histogram: Histogram): LatencyMs {
  // A percentile is the upper edge of its bucket, and a histogram of zeros has no lowest value.
  const { maxValue, minNonZeroValue, totalCount } = histogram;
  const valueAt = (percentile: number): number =>
    Math.min(histogram.getValueAtPercentile(percentile), maxValue);
  const at = (percentile: number): number => valueAt(percentile) / 1000;
  const isEmpty = totalCount === 0;
  return {
    min: isEmpty || valueAt(0) === 0 ? 0 : minNonZeroValue / 1000,
    mean: isEmpty ? 0 : histogram.mean / 1000,
    p50: at(50),
    p90: at(90),
    p99: at(99),
    p999: at(99.9),
    max: maxValue / 1000,
  };
}

/** Counts of latencies by powers of two, for a picture. */
export class LatencyBars {
  readonly #counts: number[] = [];

  add(microseconds: number): void {
    const bar = Math.max(0, Math.ceil(Math.log2(Math.max(1, microseconds))));
    this.#counts[bar] = (this.#counts[bar] ?? 0) + 1;
  }

  /** One line a bar: the upper edge in milliseconds, the count, and its share as a length. */
  lines(): string[] {
    const counts = Array.from(this.#counts, (count) => count ?? 0);
    const first = counts.findIndex((count) => count > 0);
    if (first === -1) return ["(no sample)"];
    const most = Math.max(...counts);
    return counts.slice(first).map((count, i) => {
      const edgeMs = 2 ** (first + i) / 1000;
      const bar = "#".repeat(Math.round((count / most) * 40));
      return `${edgeMs.toFixed(3).padStart(10)} ms  ${String(count).padStart(9)}  ${bar}`;
    });
  }
}

/** The middle value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length === 0) return 0;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? 0)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
