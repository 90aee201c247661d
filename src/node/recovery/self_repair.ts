/**
 * A node whose log or snapshot is damaged begins anew, if the others let it: it asks the leader to
 * take it back as a learner with a new folder, keeps the damaged files aside, and gets everything
 * from the leader. So it neither votes nor counts before it has all it may ever have promised: that
 * is what learners are for. Alone, or without a quorum of the others, it stays refused.
 *
 * The file `repairing` holds the new folder's identity from the moment the leader agreed until the
 * folder has it, so that a crash in between changes nothing.
 *
 * @module
 */

import { CorruptionError, CStoreError, MembershipError } from "../../base/errors.ts";
import { partLogger } from "../../base/log.ts";
import { ATTEMPTS_MAX } from "../../base/timing.ts";
import {
  askingIncarnation,
  askToJoin,
  forgetAsking,
  type JoinedCluster,
} from "../../cluster/join.ts";
import type { Platform } from "../../platform/platform.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import {
  readIdentity,
  readIdentityFile,
  readSmallFile,
  writeFileDurably,
  writeIdentityFile,
} from "../../storage/data_directory.ts";
import type { LogIdentity } from "../../storage/identity.ts";
import type { NodeConfig } from "../config/node_config.ts";
import { type OpenedStorage, openStorage } from "./open_storage.ts";

const REPAIRING = "repairing";
const PEERS = "peers";
/** Behind the names of damaged files, with a number. */
const DAMAGED = ".damaged-";

/** Opens the folder; a damaged one is begun anew with the others' consent. */
export async function openOrRepair(
  platform: Platform,
  config: NodeConfig,
  joined: JoinedCluster | undefined,
): Promise<OpenedStorage> {
  // Until its log names the members, a node that joins knows those that it contacted.
  if (joined !== undefined) await notePeers(platform, config.dataDirectory, config.join);
  const unfinished = readIdentityFile(platform.files, `${config.dataDirectory}/${REPAIRING}`);
  if (unfinished !== undefined) return await beginAnew(platform, config, unfinished);
  try {
    return await openStorage(platform, config, joined);
  } catch (damage) {
    if (!(damage instanceof CorruptionError) || config.repair === "never") throw damage;
    return await repair(platform, config, damage);
  }
}

async function repair(
  platform: Platform,
  config: NodeConfig,
  damage: CorruptionError,
): Promise<OpenedStorage> {
  const { dataDirectory } = config;
  const logger = partLogger("node");
  const identity = readIdentity(platform.files, dataDirectory);
  const peers = knownPeers(platform, config);
  if (identity === undefined || peers.length === 0) throw damage;
  logger.error("the folder is damaged, the other members are asked to replace it: {reason}", {
    reason: damage.message,
  });
  const incarnation = await askingIncarnation(platform, dataDirectory, identity.incarnation);
  try {
    const own = config.members.find(({ id }) => id === config.id)?.address ?? "";
    const request = { id: config.id, address: own, repairs: identity.incarnation };
    await askToJoin(platform, {
      seeds: peers,
      attempts: ATTEMPTS_MAX.repair,
      request,
      incarnation,
    });
  } catch (cause) {
    if (!(cause instanceof CStoreError)) throw cause;
    if (cause instanceof MembershipError) await forgetAsking(platform.files, dataDirectory);
    logger.error("the others did not agree: {reason}", { reason: cause.message });
    throw damage;
  }
  const renewed = { ...identity, incarnation, isJoined: true };
  await writeIdentityFile(platform.files, dataDirectory, { name: REPAIRING, identity: renewed });
  return await beginAnew(platform, config, renewed);
}

/** The leader agreed: the damaged files go aside, and the folder gets its new identity. */
async function beginAnew(
  platform: Platform,
  config: NodeConfig,
  identity: LogIdentity,
): Promise<OpenedStorage> {
  const { files } = platform;
  const { dataDirectory } = config;
  const isRenewed = readIdentity(files, dataDirectory)?.incarnation === identity.incarnation;
  if (!isRenewed) {
    await setAside(platform, dataDirectory);
    await writeIdentityFile(files, dataDirectory, { name: "identity", identity });
  }
  const { clusterId, incarnation } = identity;
  const opened = await openStorage(platform, config, { clusterId, incarnation });
  files.remove(`${dataDirectory}/${REPAIRING}`);
  await forgetAsking(files, dataDirectory);
  return opened;
}

/** Nothing is deleted: damaged files may still be of use to a person. */
async function setAside({ files }: Platform, directory: string): Promise<void> {
  for (const part of ["wal", "snapshots"]) {
    const folder = `${directory}/${part}`;
    if (!files.exists(folder)) continue;
    for (const name of files.list(folder)) {
      if (name.includes(DAMAGED)) continue;
      let number = 1;
      while (files.exists(`${folder}/${name}${DAMAGED}${number}`)) number += 1;
      files.rename(`${folder}/${name}`, `${folder}/${name}${DAMAGED}${number}`);
    }
    await files.syncDirectory(folder);
  }
}

/** Addresses of other members: those noted last, and those of `join` and the static list. */
function knownPeers({ files }: Platform, config: NodeConfig): string[] {
  const others = config.members.filter(({ id }) => id !== config.id);
  const listed = [...config.join, ...others.map(({ address }) => address)];
  const bytes = readSmallFile(files, `${config.dataDirectory}/${PEERS}`);
  if (bytes === undefined) return listed;
  try {
    const noted = decodeUntrustedCbor(bytes);
    if (!Array.isArray(noted)) return listed;
    return [...new Set([...noted.map(String), ...listed])];
  } catch (error) {
    if (!(error instanceof CStoreError)) throw error;
    return listed;
  }
}

/** Notes where the other members are, for a time when this node cannot read its log. */
export async function notePeers(
  platform: Platform,
  directory: string,
  addresses: readonly string[],
): Promise<void> {
  const bytes = encodeCbor([...addresses]).slice();
  await writeFileDurably(platform.files, { directory, name: PEERS, bytes });
}
