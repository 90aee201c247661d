/**
 * Limits so small that a run of seconds reaches them all: refusals for overload, several batches
 * for one turn, appends of one entry, catching up from the disk. The constants are changed while
 * the modules are loaded; everything else is the shipped code.
 *
 * @module
 */

import { type Change, change } from "./plants.ts";

const SMALL_LIMITS: readonly Change[] = [
  limit("base/limits.ts", "BATCH_BODY_SIZE_GOAL", "512"),
  limit("base/limits.ts", "BATCHES_IN_FLIGHT_MAX", "3"),
  limit("base/limits.ts", "REQUEST_BYTES_IN_FLIGHT_MAX", "1024"),
  limit("base/limits.ts", "LOG_CACHE_BYTES", "4096"),
  limit("base/limits.ts", "SESSION_WINDOW_MAX", "64"),
  limit("replication/raft/raft_config.ts", "APPEND_BYTES_MAX", "200"),
  limit("replication/raft/raft_config.ts", "INFLIGHT_BYTES_MAX", "4096"),
  limit("replication/raft/raft_config.ts", "UNCOMMITTED_BYTES_MAX", "4096"),
];

function limit(file: string, name: string, value: string): Change {
  return { file, find: new RegExp(`const ${name} = [^;]+;`), replace: `const ${name} = ${value};` };
}

/** To be called before anything of `src` is imported. */
export function sowSmallLimits(): void {
  change("small limits", SMALL_LIMITS);
}
