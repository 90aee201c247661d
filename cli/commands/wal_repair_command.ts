/**
 * `cstore wal repair`: says what a repair of a damaged folder would keep and lose, and carries it
 * out when the loss is accepted.
 *
 * @module
 */

import { ConfigError, MembershipError } from "../../src/base/errors.ts";
import { SEGMENT_SIZE_BYTES } from "../../src/base/limits.ts";
import { type Platform, systemPlatform } from "../../src/platform/platform.ts";
import { readIdentity } from "../../src/storage/data_directory.ts";
import {
  type Examination,
  examineFolder,
  finishRepair,
  isRepairUnfinished,
  type RepairedFolder,
  repairFolder,
} from "../../src/storage/repair/repair_files.ts";
import { isWhole, type LostEntries, type RepairPlan } from "../../src/storage/repair/wal_repair.ts";
import { readInstallMark } from "../../src/storage/snapshot_files.ts";
import { flagOption, type RawOptions } from "../options.ts";
import { EXIT, ExitError, print, printJson } from "../output.ts";

/** Examines a folder; repairs it with `--accept-data-loss`. */
export async function runRepair(directory: string, options: RawOptions): Promise<void> {
  const platform = systemPlatform();
  const { files } = platform;
  const identity = readIdentity(files, directory);
  const isUnfinished = isRepairUnfinished(files, directory);
  if (identity === undefined || (!isUnfinished && !files.exists(`${directory}/wal`))) {
    throw new ConfigError(`Cannot repair "${directory}": it holds no node's data`, {
      remedy: "Give the folder that was given to the node with --data",
    });
  }
  const isAccepted = flagOption(options, "acceptDataLoss");
  const lock = files.lock(`${directory}/LOCK`);
  try {
    // Its loss was accepted before, and the old log has its new name already.
    if (isUnfinished && isAccepted) await finishRepair(files, directory);
    else if (isUnfinished) throw brokenOff(directory);
    const folder = { directory, identity };
    const examination = await examineFolder(platform, folder);
    await runPlan(platform, folder, { examination, isAccepted, json: flagOption(options, "json") });
  } finally {
    lock.release();
  }
}

function brokenOff(directory: string): ConfigError {
  return new ConfigError(`Cannot examine "${directory}": a repair was broken off near its end`, {
    remedy: `To finish it: cstore wal repair ${directory} --accept-data-loss`,
  });
}

async function runPlan(
  platform: Platform,
  folder: RepairedFolder,
  run: {
    readonly examination: Examination;
    readonly isAccepted: boolean;
    readonly json: boolean;
  },
): Promise<void> {
  const { plan } = run.examination;
  const { directory } = folder;
  const isRepaired = run.isAccepted && plan.refusal === "" && !isWhole(plan);
  const target = { ...folder, segmentSizeBytes: SEGMENT_SIZE_BYTES };
  if (!run.json) printPlan(plan);
  const moved = isRepaired ? (await repairFolder(platform, target, run.examination)).moved : [];
  if (run.json) printJson(planJson(plan, moved));
  if (isWhole(plan)) return;
  if (plan.refusal !== "") throw refusalFor(platform, plan, folder);
  if (!run.json) for (const { from, to } of moved) print(`moved    ${from} to ${to}`);
  if (isRepaired) {
    if (!run.json) print("repaired: the node can be started");
    return;
  }
  if (!run.json) {
    print(`nothing was changed; to do this: cstore wal repair ${directory} --accept-data-loss`);
  }
  throw new ExitError(EXIT.damaged);
}

/** A folder that was stopped while it took a leader's snapshot is no damaged one. */
function refusalFor(platform: Platform, plan: RepairPlan, folder: RepairedFolder): Error {
  const { directory } = folder;
  const isTaking = readInstallMark(platform.files, `${directory}/snapshots`) !== undefined;
  if (plan.damages.length > 0 || !isTaking) return refused(plan, folder);
  return new ConfigError(`Cannot repair "${directory}": a snapshot was being taken into it`, {
    remedy: "Start the node: that finishes it",
  });
}

function refused(plan: RepairPlan, { directory, identity: { nodeId } }: RepairedFolder): Error {
  const message = `Cannot repair "${directory}": ${plan.refusal}`;
  if (plan.last.index === 0) {
    return new ConfigError(message, {
      remedy: "Keep this folder; restore a backup into another one (`cstore restore`)",
    });
  }
  return new MembershipError(message, {
    remedy:
      `While the others have a majority: cstore cluster recover ${nodeId}, then start it with an ` +
      "empty folder; without a majority: cstore cluster unsafe-recover on the folders that are whole",
  });
}

function printPlan(plan: RepairPlan): void {
  if (isWhole(plan)) {
    print(`ok: nothing is damaged; entries ${plan.base.index + 1} to ${plan.last.index}`);
    return;
  }
  for (const { file, byte, problem, record } of plan.damages) {
    print(`damaged  ${file}, byte ${byte}, from record ${record} on: ${problem}`);
  }
  for (const { path, byte, problem } of plan.damagedSnapshots) {
    print(`damaged  ${path}, byte ${byte}: ${problem}`);
  }
  if (plan.last.index > 0) printKept(plan);
  printLost(plan.lost);
}

function printKept({ snapshot, base, last }: RepairPlan): void {
  const entries =
    base.index < last.index ? `entries ${base.index + 1} to ${last.index}` : "no entry of the log";
  const covered =
    snapshot === undefined ? "" : `the snapshot at entry ${snapshot.index}, which has all before; `;
  print(`kept     ${covered}${entries}; operations 1 to ${last.nextSequence - 1}`);
}

function printLost(lost: LostEntries | undefined): void {
  if (lost === undefined) {
    print("lost     nothing");
    return;
  }
  const { firstIndex, lastIndex, firstSequence, lastSequence, isOpen, readable } = lost;
  const more = isOpen ? " and whatever followed" : "";
  if (lastIndex < firstIndex) {
    print(isOpen ? `lost     whatever followed` : "lost     no entry; perhaps the last vote");
    return;
  }
  const operations =
    lastSequence < firstSequence ? "" : `, operations ${firstSequence} to ${lastSequence}`;
  print(`lost     entries ${firstIndex} to ${lastIndex}${operations}${more}`);
  for (const { first, last } of readable) {
    print(
      `         ${first} to ${last} can be read, but nothing shows that they follow what is kept`,
    );
  }
}

function planJson(
  plan: RepairPlan,
  moved: readonly { readonly from: string; readonly to: string }[],
): object {
  const { damages, damagedSnapshots, snapshot, base, last, lost, refusal, otherVoters } = plan;
  const isDone = moved.length > 0;
  const verdict = isWhole(plan) ? "ok" : isDone ? "repaired" : "damaged";
  return {
    verdict,
    damages,
    damagedSnapshots: damagedSnapshots.map(({ path, byte, problem }) => ({ path, byte, problem })),
    kept: { snapshot: snapshot?.index, firstIndex: base.index + 1, lastIndex: last.index },
    lost,
    otherVoters,
    refusal,
    moved,
  };
}
