/**
 * Names of our log categories. LogTape stays silent until a program configures it.
 *
 * @module
 */

import { getLogger, type Logger } from "@logtape/logtape";

/** The logger of one part: `["cstore", part]`. */
export function partLogger(
  part: "node" | "raft" | "snapshot" | "storage" | "transport" | "client",
): Logger {
  return getLogger(["cstore", part]);
}
