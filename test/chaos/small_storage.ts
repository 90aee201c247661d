/**
 * Loaded before a node's program: segments, snapshots and the kept log so small that a run of
 * minutes rolls segments, takes and sends snapshots and cuts the log all the time.
 *
 * @module
 */

import { change } from "../simulation/plants.ts";

const KIB = 1024;

change("small storage", [
  setting("segmentSizeBytes", 128 * KIB),
  setting("snapshotLogBytes", 192 * KIB),
  {
    file: "base/limits.ts",
    find: /const LOG_RETAIN_BYTES = [^;]+;/,
    replace: `const LOG_RETAIN_BYTES = ${512 * KIB};`,
  },
]);

/** A default of the node's configuration. */
function setting(name: string, value: number) {
  const find = new RegExp(`  ${name}: [^,[]+,`);
  return { file: "node/config/node_config.ts", find, replace: `  ${name}: ${value},` };
}
