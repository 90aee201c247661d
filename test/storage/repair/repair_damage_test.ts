/**
 * Damage everywhere: one record after the other, areas of garbage, and repairs that are interrupted
 * at each of their steps. What is kept is what the log held there, and nothing is deleted.
 *
 * @module
 */

import { expect, setDefaultTimeout, test } from "bun:test";
import { CorruptionError } from "../../../src/base/errors.ts";
import { SeededRandom } from "../../../src/platform/random.ts";
import { settle } from "../log_fixture.ts";
import {
  contentOf,
  examine,
  expectRepaired,
  FOLDER,
  isRepairUnfinished,
  isWhole,
  LAST,
  nodeFolder,
  opened,
  type Placed,
  type RepairPlan,
  recordsOn,
  repair,
  SNAPSHOTS,
  segmentsOn,
} from "./node_folder.ts";

setDefaultTimeout(60_000);

// Mutations that this finds: a hole that is kept, an entry more or less than there is, a
// snapshot's entries counted as lost, a term that goes back.
test("one damaged record: what is behind the snapshot is kept up to the damage", async () => {
  const folder = await nodeFolder();
  const records = recordsOn(folder.disk);
  expect(records.filter(({ index }) => index > 16).length).toBe(LAST - 16);
  for (const record of records) {
    for (const offset of [9, 64 + record.size - 1]) {
      const disk = folder.disk.clone();
      disk.rot(record.path, record.at + offset);
      expect(await opened(disk.clone())).toBeInstanceOf(CorruptionError);
      const plan = await repair(disk);
      expect(plan.refusal).toBe("");
      expect(plan.damages).toMatchObject([{ file: record.path, byte: record.at }]);
      expectLoss(plan, { record, isHeader: offset < 64 });
      await expectRepaired(folder, disk, plan);
    }
  }
});

function expectLoss(
  plan: RepairPlan,
  { record, isHeader }: { readonly record: Placed; readonly isHeader: boolean },
): void {
  if (record.index > 16) {
    expect(plan.last.index).toBe(record.index - 1);
    const { lost } = plan;
    const isLast = record.index === LAST;
    // Nothing but its number is known of a record whose header is gone.
    const lastTold = isLast && isHeader ? LAST - 1 : LAST;
    expect(lost).toMatchObject({ firstIndex: record.index, lastIndex: lastTold, isOpen: isLast });
    expect([lost?.firstSequence, lost?.lastSequence]).toEqual([record.index, lastTold]);
    expect(lost?.readable).toEqual(isLast ? [] : [{ first: record.index + 1, last: LAST }]);
    return;
  }
  const isEntry = record.kind === "BATCH";
  // The older snapshot stays usable as long as nothing behind it is damaged.
  if (isEntry) expect(plan.base.index).toBe(record.index <= 8 ? 8 : 16);
  if (isEntry || !isHeader) expect(plan.last.index).toBe(LAST);
  if (!isEntry && !isHeader && record.kind === "HEAD") expect(plan.lost).toBeUndefined();
}

test("garbage over whole areas: never a hole, always a state that once was", async () => {
  const folder = await nodeFolder();
  const segments = segmentsOn(folder.disk);
  for (let round = 0; round < 40; round += 1) {
    const disk = folder.disk.clone();
    const path = segments[round % segments.length]!;
    const size = disk.readFile(path).byteLength;
    const from = (round * 389) % size;
    for (let byte = from; byte < Math.min(size, from + 700); byte += 3) disk.rot(path, byte, 0x5a);
    const plan = await repair(disk);
    if (isWhole(plan)) expect(await opened(disk)).not.toBeInstanceOf(Error);
    else await expectRepaired(folder, disk, plan);
  }
});

// Whatever is flipped: a start succeeds if and only if the examination finds nothing to repair.
test("the examination and the start agree about every 41st byte of the log", async () => {
  const { disk } = await nodeFolder();
  let damaged = 0;
  for (const path of segmentsOn(disk)) {
    const size = disk.readFile(path).byteLength;
    for (let byte = 1; byte < size; byte += 41) {
      const copy = disk.clone();
      copy.rot(path, byte);
      const { plan } = await examine(copy);
      const result = await opened(copy);
      expect([path, byte, isWhole(plan)]).toEqual([path, byte, !(result instanceof Error)]);
      if (result instanceof Error) damaged += 1;
    }
  }
  expect(damaged).toBeGreaterThan(50);
});

// Mutations that this finds: the old directory renamed before the new log is complete or durable, a
// start that makes a new log where the old one was just renamed, names that overtake each other.
test.each([
  ["with snapshots", [8, 16]],
  ["without", []],
])(
  "interrupted or without power at any step, %s: refused or repaired",
  async (_what, snapshotsAt) => {
    const folder = await nodeFolder({ snapshotsAt });
    const record = recordsOn(folder.disk).find(({ index }) => index === 25)!;
    folder.disk.rot(record.path, record.at + 64);
    if (snapshotsAt.length > 0) folder.disk.rot(`${SNAPSHOTS}/0000000000000016.snapshot`, 60);
    const damaged = Buffer.from(folder.disk.readFile(record.path)).toString("latin1");
    const seen = new Set<boolean>();
    for (let operations = 1, how = ""; how !== "ended"; operations += 1) {
      for (let round = 0; round < 3; round += 1) {
        const random = new SeededRandom(operations * 100 + round);
        const disk = folder.disk.clone({ random });
        const halted = disk.haltAfter(operations);
        const ended = repair(disk).then(
          () => "ended",
          () => "failed",
        );
        how = await Promise.race([ended, halted.then(() => "halted")]);
        await settle();
        disk.killProcess();
        if (how === "ended") break;
        if (round > 0) disk.cutPower();
        seen.add(isRepairUnfinished(disk.files, FOLDER));
        const start = await opened(disk.clone());
        if (start instanceof Error) expect(start).toBeInstanceOf(CorruptionError);
        else expect([start.lastIndex, start.dump]).toEqual([25, folder.states[24]!]);
        await repair(disk);
        const result = await opened(disk);
        if (result instanceof Error) throw result;
        expect([result.lastIndex, result.dump]).toEqual([25, folder.states[24]!]);
        expect([...contentOf(disk).values()]).toContain(damaged);
      }
    }
    expect(seen).toEqual(new Set([false, true]));
  },
);
