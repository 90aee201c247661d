/**
 * Many random runs: `random_run.ts` makes the steps of a run, and `invariants.ts` checks each of
 * its states. `CSTORE_SEEDS=5000` runs more of them, `CSTORE_SEED=17` one.
 *
 * Planted bugs, and the first of 1,000 seeds that found each, with 3 and with 5 nodes:
 *
 * | wrong rule                                                     | 3 nodes | 5 nodes |
 * | -------------------------------------------------------------- | ------: | ------: |
 * | logs match by index alone                                      |      11 |       1 |
 * | the longer log wins, whatever its last term                    |     121 |     884 |
 * | term and vote are not kept                                     |       1 |       1 |
 * | the own vote counts before it is on disk                       |       3 |       1 |
 * | a vote leaves before it is on disk                             |       1 |       1 |
 * | a vote can be given twice in a term                            |      11 |       5 |
 * | votes of the round before count                                |       1 |       1 |
 * | a majority of the answers elects                               |       1 |       1 |
 * | a refused append counts as taken                               |       1 |       1 |
 * | an append is acknowledged before it is on disk                 |       1 |       1 |
 * | the leader's own copy counts before it is on disk              |       1 |       1 |
 * | an entry of an older term is committed by counting             |       1 |       3 |
 * | entries are committed when received                            |       1 |       1 |
 * | a truncation leaves earlier syncs as they were (append ABA)    |      42 |      19 |
 * | reads need no quorum                                           |     141 |     247 |
 * | reads do not begin a round of their own                        |     141 |     247 |
 * | a new leader's reads do not wait for its first commit          |      11 |      14 |
 * | reads live on when leadership ends                             |     402 |       - |
 * | a full window whose appends were lost stays full               |       7 |       7 |
 * | messages of old terms are taken                                |       7 |      27 |
 *
 * With changes of members and snapshots:
 *
 * | wrong rule                                                     | 3 nodes | 5 nodes |
 * | -------------------------------------------------------------- | ------: | ------: |
 * | joint: commits need the new voters only                        |      18 |      15 |
 * | joint: commits need the old voters only                        |       1 |       7 |
 * | joint: elections need the new voters only                      |       9 |      34 |
 * | a configuration counts only when it is committed               |       1 |       1 |
 * | a truncation leaves the members as they were                   |      47 |      12 |
 * | a second change before the first is committed                  |       1 |       3 |
 * | members change before the first commit of the term             |      17 |       3 |
 * | several voters change without joint consensus                  |      27 |      15 |
 * | joint consensus ends before it is committed                    |       1 |       7 |
 * | a snapshot keeps a tail that it does not lead to               |     465 |       - |
 * | a snapshot drops the entries that follow it                    |      84 |     307 |
 * | a snapshot leaves the members as they were                     |       3 |       2 |
 * | entries that a snapshot replaced still become durable          |      39 |     218 |
 * | a snapshot of an old term is taken                             |     968 |     264 |
 * | learners count for commits                                     |       1 |       7 |
 * | an answer of a node that may not vote is a vote                |       9 |      34 |
 * | a removed leader counts itself                                 |      26 |      13 |
 * | a removed leader goes on leading                               |       7 |      12 |
 * | a removed leader goes at once                                  |       9 |       9 |
 * | a node whose removal is not committed does not campaign        |      85 |      53 |
 * | nodes that may not vote campaign                               |       7 |       6 |
 * | a restart brings old configurations back                       |      24 |      34 |
 * | acknowledgements of a lost data directory count                |      30 |      30 |
 * | learners refuse to vote                                        |       9 |      34 |
 * | a stranded peer is never sent a snapshot                       |       1 |       2 |
 * | a snapshot that failed is waited for for ever                  |      28 |      26 |
 *
 * "-": not found in 1,000 seeds. Never found, and left to the tests that name them: committing or
 * acknowledging up to the follower's last index, campaigning with entries that are not on disk,
 * confirming reads by the new voters alone in joint consensus, and sending a snapshot to a peer
 * that was not probed.
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
test.each([2, 3, 5])(
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
