/**
 * Joining a cluster with an empty folder: any member takes the request, the leader adds this node
 * as a learner, and the answer names the cluster that it is now part of.
 *
 * @module
 */

import { encodeText } from "../base/bytes.ts";
import { CStoreError, MembershipError, UnreachableError } from "../base/errors.ts";
import { partLogger } from "../base/log.ts";
import { BACKOFF_MS } from "../base/timing.ts";
import { Client } from "../client/connection/client.ts";
import { RemoteDatabase } from "../client/remote_database.ts";
import { sleep } from "../platform/clock.ts";
import type { FileSystem } from "../platform/file_system.ts";
import type { Platform } from "../platform/platform.ts";
import { randomId } from "../platform/random.ts";
import type { JoinReply } from "../protocol/wire/reply.ts";
import type { JoinRequest } from "../protocol/wire/request.ts";
import { readSmallFile, writeFileDurably } from "../storage/data_directory.ts";
import { NodeDiscovery } from "./node_discovery.ts";

const ATTEMPT_TIMEOUT_MS = 5000;
/** File that holds the incarnation which a node asks with. */
const ASKING = "asking";

/** Result of joining. */
export interface JoinedCluster {
  readonly clusterId: string;
  /** Incarnation of the folder that is about to be made. */
  readonly incarnation: string;
}

/** A request to join: its sender, and the seeds to contact. */
export interface JoinQuestion {
  readonly seeds: readonly string[];
  readonly attempts: number;
  /** Incarnation of the folder that is to be made: {@link askingIncarnation}. */
  readonly incarnation: string;
  readonly request: Omit<JoinRequest, "action" | "incarnation">;
}

/**
 * Repeats the request until a member answers. Rejects with MembershipError when the cluster
 * refuses, with UnreachableError when no node answers.
 */
export async function askToJoin(
  platform: Platform,
  question: JoinQuestion,
): Promise<JoinedCluster> {
  const { seeds, attempts, incarnation } = question;
  const discovery = new NodeDiscovery(seeds);
  const request = { action: "join", ...question.request, incarnation } as const;
  const logger = partLogger("node");
  let lastError: CStoreError | undefined;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    try {
      const answer = await ask(platform, await discovery.find(), request);
      return { clusterId: answer.clusterId, incarnation };
    } catch (error) {
      if (!(error instanceof CStoreError) || error instanceof MembershipError) throw error;
      if (error.retry === "never") throw error;
      const { message: reason } = error;
      const through = seeds.join(", ");
      if (reason !== lastError?.message) {
        logger.warn("cannot join through {through} yet: {reason}", { through, reason });
      }
      lastError = error;
    }
    await sleep(platform.clock, BACKOFF_MS.join.first);
  }
  throw new UnreachableError(
    `Cannot join through ${seeds.join(", ")}: ${lastError?.message ?? "no node answered"}`,
    { remedy: "Check the addresses and that the cluster has a leader" },
  );
}

async function ask(
  platform: Platform,
  addresses: readonly string[],
  request: JoinRequest,
): Promise<JoinReply> {
  const options = { platform, timeoutMs: ATTEMPT_TIMEOUT_MS };
  const database = new RemoteDatabase(await Client.connect([...addresses], options));
  try {
    return await database.cluster(request);
  } finally {
    await database.close();
  }
}

/**
 * The incarnation that a folder asks to be let in with: the same after a restart, so that an
 * earlier question which arrives late asks for nothing else. Another one than `present`, its own.
 */
export async function askingIncarnation(
  { files, random }: Platform,
  directory: string,
  present: string,
): Promise<string> {
  const noted = new TextDecoder().decode(readSmallFile(files, `${directory}/${ASKING}`));
  if (/^[0-9a-f]{16}$/.test(noted) && noted !== present) return noted;
  const incarnation = randomId(random);
  await writeFileDurably(files, { directory, name: ASKING, bytes: encodeText(incarnation) });
  return incarnation;
}

/** Forgets an incarnation that was refused, or is the folder's own now. */
export async function forgetAsking(files: FileSystem, directory: string): Promise<void> {
  files.remove(`${directory}/${ASKING}`);
  await files.syncDirectory(directory);
}
