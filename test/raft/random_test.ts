/**
 * Many random runs: see `random_run.ts` for what happens in one and `invariants.ts` for what must
 * hold. `CSTORE_SEEDS=5000` runs more of them, `CSTORE_SEED=17` one.
 *
 * Planted bugs, and the first seed that found each, with 3 and with 5 nodes:
 *
 * | wrong rule                                                     | 3 nodes | 5 nodes |
 * | -------------------------------------------------------------- | ------: | ------: |
 * | logs match by index alone                                      |       2 |       1 |
 * | the longer log wins, whatever its last term                    |      54 |     464 |
 * | term and vote are not kept                                     |       1 |       1 |
 * | the own vote counts before it is on disk                       |       1 |       5 |
 * | a vote leaves before it is on disk                             |       1 |       1 |
 * | a vote can be given twice in a term                            |      20 |       8 |
 * | votes of the round before count                                |       3 |       1 |
 * | a majority of the answers elects                               |       1 |       2 |
 * | a refused append counts as taken                               |       1 |       1 |
 * | an append is acknowledged before it is on disk                 |       1 |       1 |
 * | the leader's own copy counts before it is on disk              |       1 |      11 |
 * | an entry of an older term is committed by counting             |     425 |      41 |
 * | entries are committed when received                            |       1 |       1 |
 * | a truncation leaves earlier syncs as they were (append ABA)    |       5 |       6 |
 * | reads need no quorum                                           |     242 |     450 |
 * | reads do not begin a round of their own                        |     242 |     450 |
 * | a new leader's reads do not wait for its first commit          |       2 |       5 |
 * | reads live on when leadership ends                             |     137 |     137 |
 * | a full window whose appends were lost stays full               |       2 |       5 |
 * | a peer is called stranded without being asked                  |     133 |      40 |
 *
 * Not found in 2,000 seeds, and left to `traps_test.ts` and `regression_test.ts`: committing or
 * acknowledging up to the follower's last index, taking messages of old terms, and campaigning with
 * entries that are not on disk.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { RandomRun, type RunReport } from "./random_run.ts";

const SEEDS = Number(process.env.CSTORE_SEEDS ?? 1_000);
const ONLY = process.env.CSTORE_SEED;
const STEPS = 1_500;
const DEADLINE_MS = 60_000 + SEEDS * 60;

function runSeed(seed: number, nodeCount: number): RunReport {
  try {
    return new RandomRun({ seed, nodeCount, steps: STEPS }).run();
  } catch (cause) {
    const { message } = cause as Error;
    throw new Error(`seed ${seed} with ${nodeCount} nodes: ${message}`, { cause });
  }
}

function runSeeds(nodeCount: number): RunReport {
  const total = { committed: 0, elections: 0, readsDone: 0, crashes: 0 };
  const seeds = ONLY === undefined ? SEEDS : 1;
  for (let at = 1; at <= seeds; at += 1) {
    const report = runSeed(ONLY === undefined ? at : Number(ONLY), nodeCount);
    total.committed += report.committed;
    total.elections += report.elections;
    total.readsDone += report.readsDone;
    total.crashes += report.crashes;
  }
  return total;
}

// A run that commits, elects and reads little proves little, so that is counted too.
test.each([3, 5])(
  "random: %i nodes keep every promise, and agree once healed",
  (nodeCount) => {
    const { committed, elections, readsDone, crashes } = runSeeds(nodeCount);

    const seeds = ONLY === undefined ? SEEDS : 1;
    expect(committed).toBeGreaterThan(5 * seeds);
    expect(elections).toBeGreaterThanOrEqual(seeds);
    if (seeds < 100) return;
    expect(readsDone).toBeGreaterThan(2 * seeds);
    expect(crashes).toBeGreaterThan(2 * seeds);
  },
  DEADLINE_MS,
);

// A failing seed is worth nothing if it does not fail again.
test("random: the same seed gives the same run", () => {
  const runs = [1, 2].map(() => new RandomRun({ seed: 7, nodeCount: 3, steps: STEPS }).run());
  expect(runs[0]).toEqual(runs[1]);
});
