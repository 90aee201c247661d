/**
 * `cstore wal inspect` and `cstore wal verify`: a look into a node's log, which changes nothing.
 * `cstore wal repair` stands in `wal_repair_command.ts`.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { ConfigError } from "../../src/base/errors.ts";
import { printSize } from "../../src/base/units.ts";
import { systemFileSystem } from "../../src/platform/file_system.ts";
import { decodeBatchHeader } from "../../src/protocol/encoding/batch_codec.ts";
import { readIdentity } from "../../src/storage/data_directory.ts";
import { inspectSegments, type RecoveredRecord } from "../../src/storage/wal/wal_open.ts";
import { flagOption, type RawOptions } from "../options.ts";
import { print, printJson, UsageError } from "../output.ts";
import { runRepair } from "./wal_repair_command.ts";

interface Counted {
  records: number;
  batches: number;
  operations: number;
  bytes: number;
  firstIndex: number;
  lastIndex: number;
  lastTerm: number;
  /** Operations of each entry that is not superseded, from the first index on. */
  readonly kept: number[];
}

/** Prints every record, or only the verdict. */
export async function runWal(words: readonly string[], options: RawOptions): Promise<void> {
  const [action, directory] = words;
  if (action !== "inspect" && action !== "verify" && action !== "repair") {
    throw new UsageError(
      action === undefined ? "Name an action" : `Unknown action "${action}"`,
      "Use: cstore wal inspect DIR, cstore wal verify DIR, cstore wal repair DIR",
    );
  }
  if (action !== "repair" && flagOption(options, "acceptDataLoss")) {
    throw new UsageError("Option --accept-data-loss belongs to cstore wal repair");
  }
  if (directory === undefined)
    throw new UsageError(
      "Name a node's data folder",
      `For example: cstore wal ${action} ./data/n1`,
    );
  if (action === "repair") return runRepair(directory, options);
  if (!existsSync(`${directory}/wal`)) {
    throw new ConfigError(`Cannot read "${directory}": it holds no log`, {
      remedy: "Give the folder that was given to the node with --data",
    });
  }
  const identity = readIdentity(systemFileSystem, directory);
  const counted: Counted = {
    records: 0,
    batches: 0,
    operations: 0,
    bytes: 0,
    firstIndex: 0,
    lastIndex: 0,
    lastTerm: 0,
    kept: [],
  };
  const verdict = inspectSegments(
    systemFileSystem,
    { directory: `${directory}/wal`, identity },
    (record) => {
      const shown = describe(record, counted);
      if (action !== "inspect") return;
      if (flagOption(options, "json")) printJson(shown);
      else
        print(
          Object.entries(shown)
            .map(([name, value]) => `${name} ${value}`)
            .join("  "),
        );
    },
  );
  const { kept: _, ...counts } = counted;
  const summary = {
    verdict: "ok",
    ...identity,
    segments: verdict.kept.length,
    ...counts,
    syncedThrough: verdict.watermark,
    commitIndex: verdict.commitIndex,
    unsyncedSegments: verdict.dropped.length,
  };
  if (flagOption(options, "json")) printJson(summary);
  else {
    print(
      `ok: ${counted.records} records in ${verdict.kept.length} segments, entries ${counted.firstIndex} to ${counted.lastIndex} (term ${counted.lastTerm}), ${counted.operations} operations, ${printSize(counted.bytes)}`,
    );
    print(
      `synced through record ${verdict.watermark}, commit index ${verdict.commitIndex}, cluster ${identity?.clusterId}, node ${identity?.nodeId}, folder ${identity?.incarnation}`,
    );
  }
}

function describe(record: RecoveredRecord, counted: Counted): object {
  const { header } = record;
  counted.records += 1;
  const place = {
    record: header.number,
    segment: record.segmentNumber,
    byte: record.at,
    kind: header.kind,
  };
  const state = { syncedThrough: header.syncedThrough, commitIndex: header.commitIndex };
  if (header.kind !== "BATCH") return { ...place, size: header.bodySize, ...state };
  const batch = decodeBatchHeader(record.body);
  // An entry supersedes all of its index or a higher one.
  while (counted.kept.length > 0 && counted.firstIndex + counted.kept.length > batch.index) {
    counted.operations -= counted.kept.pop() ?? 0;
    counted.batches -= 1;
  }
  // Numbers that a repair left out are no operations: each of those takes bytes.
  const operations = batch.count > batch.rawSize ? 0 : batch.count;
  counted.kept.push(operations);
  counted.batches += 1;
  counted.operations += operations;
  counted.bytes += record.body.byteLength;
  if (counted.kept.length === 1) counted.firstIndex = batch.index;
  counted.lastIndex = batch.index;
  counted.lastTerm = batch.term;
  const { term, index, firstSequence, count, codec, rawSize, storedSize, timeMs } = batch;
  return {
    ...place,
    term,
    index,
    firstSequence,
    count,
    codec,
    rawSize,
    storedSize,
    timeMs,
    ...state,
  };
}
