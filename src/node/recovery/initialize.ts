/**
 * Beginning a cluster: a folder that holds its first node. Others join it.
 *
 * @module
 */

import { checkAddress, checkId } from "../../base/address.ts";
import { ConfigError } from "../../base/errors.ts";
import type { Platform } from "../../platform/platform.ts";
import { randomId } from "../../platform/random.ts";
import { readIdentity } from "../../storage/data_directory.ts";
import { parseNodeConfig } from "../config/node_config.ts";
import type { FirstNode } from "../snapshots/new_cluster.ts";
import { openStorage } from "./open_storage.ts";

/** Makes an empty folder the first node of a new cluster. Rejects with ConfigError, LockedError. */
export async function initializeCluster(
  platform: Platform,
  first: FirstNode,
): Promise<{ readonly clusterId: string }> {
  checkId(first.id);
  checkAddress(first.address);
  const known = readIdentity(platform.files, first.dataDirectory);
  if (known !== undefined) {
    throw new ConfigError(
      `Cannot begin a cluster in "${first.dataDirectory}": it holds node "${known.nodeId}" of cluster ${known.clusterId}`,
      { remedy: "Start that node, or choose an empty folder" },
    );
  }
  const { id, address, dataDirectory } = first;
  const clusterId = randomId(platform.random);
  const config = parseNodeConfig({ id, dataDirectory, members: [{ id, address }], clusterId });
  const { log, directory } = await openStorage(platform, config);
  await log.close();
  directory.release();
  return { clusterId };
}
