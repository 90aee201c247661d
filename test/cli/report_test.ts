/**
 * Figures of reports: in order, whatever was measured.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { latencyMs, newHistogram } from "../../cli/measure/report.ts";

// Percentiles were edges of buckets, above the maximum; zeros alone had a minimum of 9e15.
test.each<readonly [string, readonly number[]]>([
  ["nothing", []],
  ["zeros", [0, 0]],
  ["one value between edges", [100_003]],
  ["zero and another", [0, 100_003]],
  ["many", Array.from({ length: 1000 }, (_, i) => 1 + i * 977)],
])("%s: no figure is above the next one, and all are values that were seen", (_what, values) => {
  const histogram = newHistogram();
  for (const value of values) histogram.recordValue(value);
  const { min, p50, p90, p99, p999, max, mean } = latencyMs(histogram);
  const figures = [min, p50, p90, p99, p999, max];
  expect(figures).toEqual([...figures].sort((a, b) => a - b));
  expect(min).toBe(values.length === 0 ? 0 : Math.min(...values) / 1000);
  expect(Math.abs(max - Math.max(0, ...values) / 1000)).toBeLessThanOrEqual(max / 1000);
  expect(mean).toBeLessThanOrEqual(max);
});
