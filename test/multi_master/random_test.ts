/**
 * Many random runs: see `random_run.ts` for what happens in one and what must hold at its end.
 * `CSTORE_SEEDS=5000` runs more of them, `CSTORE_SEED=17` one.
 */

import { expect, test } from "bun:test";
import { runSeed } from "./random_run.ts";

const one = process.env["CSTORE_SEED"];
const first = Number(one ?? 1);
const count = one === undefined ? Number(process.env["CSTORE_SEEDS"] ?? 300) : 1;

test(`multi-master: ${count} random runs end with equal nodes`, () => {
  const totals = { operations: 0, forgotten: 0, renewed: 0 };
  for (let seed = first; seed < first + count; seed += 1) {
    try {
      const { operations, forgotten, renewed } = runSeed(seed);
      totals.operations += operations;
      totals.forgotten += forgotten ? 1 : 0;
      totals.renewed += renewed;
    } catch (cause) {
      const what = `Seed ${seed}: ${(cause as Error).message}`;
      throw new Error(`${what}; CSTORE_SEED=${seed} bun test ${import.meta.path}`, { cause });
    }
  }
  expect(totals.operations).toBeGreaterThan(count * 10);
  // Runs in which nothing of this happens would prove nothing.
  if (one === undefined) expect(Math.min(totals.forgotten, totals.renewed)).toBeGreaterThan(0);
}, 600_000);
