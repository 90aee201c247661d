/**
 * The port of a node that begins.
 *
 * @module
 */

import { parseEndpoint } from "../base/address.ts";
import type { Platform } from "../platform/platform.ts";
import { readIdentity } from "../storage/data_directory.ts";
import { ReservedPort } from "../transport/reserved_port.ts";
import type { NodeConfig } from "./config/node_config.ts";
import { readListen } from "./config/resolve_config.ts";

/**
 * Opens the port of a node whose folder is empty, before anything is written there. Undefined: the
 * folder knows where the node listens. Rejects with UnreachableError when the port is taken.
 */
export async function reservePort(
  platform: Platform,
  config: NodeConfig,
): Promise<ReservedPort | undefined> {
  const { files } = platform;
  const { dataDirectory, id, members, isEmbedded } = config;
  if (isEmbedded || readIdentity(files, dataDirectory) !== undefined) return undefined;
  const own = members.find((member) => member.id === id);
  const listed = own && parseEndpoint(own.address);
  const noted = readListen(files, dataDirectory);
  const endpoint = config.listen ?? listed ?? noted ?? { host: "127.0.0.1", port: 0 };
  return await ReservedPort.open(platform, endpoint);
}
