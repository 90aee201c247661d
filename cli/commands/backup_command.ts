/**
 * `cstore backup` and `cstore restore`.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { readWhole } from "../../src/client/collection/query_client.ts";
import { backupBlocks } from "../../src/client/state_export.ts";
import {
  type BackupReport,
  type Recovery,
  readBackup,
  restoreBackup,
  writeBackup,
} from "../../src/node/snapshots/backup.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import {
  DEFAULT_DATA,
  durationOption,
  flagOption,
  newAddressOption,
  numberOption,
  type RawOptions,
  textOption,
} from "../options.ts";
import { print, printJson, UsageError } from "../output.ts";
import { addressesOf } from "./cluster_command.ts";
import { withDatabase } from "./cluster_view.ts";

/** Writes or verifies a backup. */
export async function runBackup(words: readonly string[], options: RawOptions): Promise<void> {
  const [file] = words;
  if (file === undefined) throw new UsageError("Name the file", "cstore backup monday.cstore");
  const platform = systemPlatform();
  if (flagOption(options, "verify")) {
    if (!existsSync(file)) throw new UsageError(`There is no file "${file}"`);
    tellReport("verified", file, { report: await readBackup(platform, file), options });
    return;
  }
  if (!existsSync(dirname(resolve(file)))) {
    throw new UsageError(`There is no folder "${dirname(file)}"`);
  }
  if (existsSync(file)) throw new UsageError(`The file "${file}" exists`, "Choose another name");
  const timeoutMs = durationOption(options, "timeout", 30_000);
  await withDatabase(addressesOf(options), timeoutMs, async (database) => {
    const { clusterId } = await database.status();
    const { client } = database;
    const report = await readWhole(client, () => {
      return writeBackup(platform, { clusterId, blocks: backupBlocks(client) }, file);
    });
    tellReport("written and verified", file, { report, options });
  });
}

function tellReport(
  what: string,
  file: string,
  result: { readonly report: BackupReport; readonly options: RawOptions },
): void {
  const { report, options } = result;
  if (flagOption(options, "json")) return printJson({ file, ...report });
  const { documents, collections, index, clusterId } = report;
  print(
    `${file} ${what}: ${documents} documents in ${collections} collections, entry ${index} of cluster ${clusterId}`,
  );
}

/** How far an archive is to be followed; undefined without one. */
function recoveryOf(options: RawOptions): Recovery | undefined {
  // An empty text is a variable that was not set: it must not mean "all there is".
  const given = { archive: "--archive", until: "--until", untilEntry: "--until-entry" };
  for (const [name, shown] of Object.entries(given)) {
    if (options[name] === "") throw new UsageError(`${shown} is empty`);
  }
  const archive = textOption(options, "archive");
  const until = textOption(options, "until");
  const entry = textOption(options, "untilEntry");
  if (archive === undefined) {
    if (until === undefined && entry === undefined) return undefined;
    throw new UsageError("--until and --until-entry need --archive");
  }
  if (until !== undefined && entry !== undefined) {
    throw new UsageError("Give --until or --until-entry, not both");
  }
  if (until !== undefined) return { archive, timeMs: timeOf(until) };
  if (entry === undefined) return { archive };
  const max = Number.MAX_SAFE_INTEGER;
  return { archive, index: numberOption(options, "untilEntry", { min: 1, max, fallback: 1 }) };
}

/** Milliseconds since 1970 of a time that says in which zone it is. */
function timeOf(text: string): number {
  const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text);
  const timeMs = isTime ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(timeMs)) return timeMs;
  throw new UsageError(
    `"${text}" is no time with its zone`,
    "Write it like 2026-11-22T10:15:00Z or 2026-11-22T11:15:00+01:00",
  );
}

/** Makes a new cluster from a backup. */
export async function runRestore(words: readonly string[], options: RawOptions): Promise<void> {
  const [file] = words;
  if (file === undefined) throw new UsageError("Name the file", "cstore restore monday.cstore");
  if (!existsSync(file)) throw new UsageError(`There is no file "${file}"`);
  const id = textOption(options, "id") ?? "n1";
  const address = newAddressOption(options);
  const dataDirectory = textOption(options, "data") ?? DEFAULT_DATA;
  const recovery = recoveryOf(options);
  const first = { id, address, dataDirectory, ...(recovery && { recovery }) };
  const { timeMs, ...report } = await restoreBackup(systemPlatform(), file, first);
  const time = new Date(timeMs).toISOString();
  if (flagOption(options, "json"))
    return printJson({ id, address, dataDirectory, ...report, time });
  const { documents, clusterId, index } = report;
  print(
    `${documents} documents restored, as of entry ${index} of ${time}: cluster ${clusterId} begins in ${dataDirectory}`,
  );
  print(`Start it:       cstore node --data ${dataDirectory}`);
  print(`Let others in:  cstore node --join ${address} --listen HOST:PORT --data DIR`);
}
