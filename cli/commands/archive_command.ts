/**
 * `cstore archive`.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { CStoreError } from "../../src/base/errors.ts";
import { logBatches } from "../../src/client/state_export.ts";
import type { RemoteDatabase } from "../../src/mod.ts";
import { archiveStart } from "../../src/node/snapshots/backup.ts";
import { LogArchive } from "../../src/node/snapshots/log_archive.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { durationOption, flagOption, type RawOptions, textOption } from "../options.ts";
import { print, printJson, tell, UsageError } from "../output.ts";
import { addressesOf } from "./cluster_command.ts";
import { withDatabase } from "./cluster_view.ts";

/** Between two questions for something new. */
const LOOK_MS = 500;
/** Between two lines that tell how far it is. */
const PROGRESS_MS = 10_000;

/** Follows the log of a cluster into a folder. */
export async function runArchive(words: readonly string[], options: RawOptions): Promise<void> {
  const [folder] = words;
  if (folder === undefined) throw new UsageError("Name the folder", "cstore archive ./log");
  const backup = textOption(options, "after");
  if (backup !== undefined && !existsSync(backup)) {
    throw new UsageError(`There is no file "${backup}"`);
  }
  const platform = systemPlatform();
  const start = backup === undefined ? undefined : await archiveStart(platform, backup);
  const timeoutMs = durationOption(options, "timeout", 30_000);
  const ending = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => ending.abort());
  const archive = await LogArchive.open(platform, folder, start);
  const first = archive.end.index;
  try {
    await withDatabase(addressesOf(options), timeoutMs, async (database) => {
      const { clusterId } = await database.status();
      if (clusterId !== archive.clusterId) {
        throw new UsageError(
          `The archive is of cluster ${archive.clusterId}, the nodes are of ${clusterId}`,
        );
      }
      await new Follower(database, archive, ending.signal).run(flagOption(options, "once"));
    });
  } finally {
    await archive.close();
  }
  const { index } = archive.end;
  if (flagOption(options, "json")) printJson({ folder, before: first, entry: index });
  else print(`${folder} holds the log up to entry ${index}: ${index - first} entries were added`);
}

/** Copies new entries, through failovers. */
class Follower {
  readonly #database: RemoteDatabase;
  readonly #archive: LogArchive;
  readonly #signal: AbortSignal;
  #toldMs = 0;
  /** Code of the error that was printed last while waiting. */
  #told = "";

  constructor(database: RemoteDatabase, archive: LogArchive, signal: AbortSignal) {
    this.#database = database;
    this.#archive = archive;
    this.#signal = signal;
  }

  async run(isOnce: boolean): Promise<void> {
    while (!this.#signal.aborted) {
      const batches = await this.#next(isOnce);
      if (batches.length > 0) await this.#archive.append(batches);
      else if (isOnce) return;
      else await this.#pause();
      this.#tellProgress();
    }
  }

  /** A cluster without a leader is waited for, unless it is to be done now. */
  async #next(isOnce: boolean): Promise<readonly Uint8Array[]> {
    try {
      return await logBatches(this.#database.client, this.#archive.end);
    } catch (error) {
      const isPassing = error instanceof CStoreError && error.retry !== "never";
      if (!isPassing || isOnce) throw error;
      if (error.code !== this.#told) tell(`waiting: ${error.message}`);
      this.#told = error.code;
      return [];
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, LOOK_MS);
      this.#signal.addEventListener("abort", end);
    });
  }

  #tellProgress(): void {
    if (Date.now() - this.#toldMs < PROGRESS_MS) return;
    this.#toldMs = Date.now();
    tell(`archived up to entry ${this.#archive.end.index}`);
  }
}
