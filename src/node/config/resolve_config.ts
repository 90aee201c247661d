/**
 * Settles what a node's options leave open: its id, its cluster, where it listens.
 *
 * @module
 */

import { type Endpoint, parseEndpoint, writeEndpoint } from "../../base/address.ts";
import { encodeText } from "../../base/bytes.ts";
import { ConfigError, MembershipError } from "../../base/errors.ts";
import { ATTEMPTS_MAX } from "../../base/timing.ts";
import {
  askingIncarnation,
  askToJoin,
  forgetAsking,
  type JoinedCluster,
} from "../../cluster/join.ts";
import type { FileSystem } from "../../platform/file_system.ts";
import type { Platform } from "../../platform/platform.ts";
import { readIdentity, readSmallFile, writeFileDurably } from "../../storage/data_directory.ts";
import type { NodeConfig } from "./node_config.ts";

/** File that holds the address which a node joined with. */
const LISTEN = "listen";

/**
 * Asks for a cluster to join if the folder is empty and the configuration says so. `reserved`: the
 * open port of a node that begins.
 */
export async function settleConfig(
  platform: Platform,
  config: NodeConfig,
  reserved: Endpoint | undefined,
): Promise<{ config: NodeConfig; joined?: JoinedCluster }> {
  const { files } = platform;
  const isKnown = readIdentity(files, config.dataDirectory) !== undefined;
  const noted = readListen(files, config.dataDirectory);
  // Until the log names this node's address, the one that it joined with is its own.
  if (isKnown || reserved === undefined) return { config: { ...config, fallback: noted } };
  if (config.join.length === 0) return { config };
  const listen = reserved;
  files.makeDirectory(config.dataDirectory);
  const bytes = encodeText(writeEndpoint(listen));
  await writeFileDurably(files, { directory: config.dataDirectory, name: LISTEN, bytes });
  const address = config.advertise ?? writeEndpoint(listen);
  checkSeeds(config, [address, writeEndpoint(listen)]);
  const { id, isStandby: standby, join: seeds } = config;
  const request = { id, address, standby };
  const directory = config.dataDirectory;
  const incarnation = await askingIncarnation(platform, directory, "");
  try {
    const question = { seeds, attempts: ATTEMPTS_MAX.join, request, incarnation };
    const joined = await askToJoin(platform, question);
    return { config: { ...config, listen }, joined };
  } catch (error) {
    if (error instanceof MembershipError) await forgetAsking(files, directory);
    throw error;
  }
}

/** A node cannot join through itself. Throws ConfigError. */
function checkSeeds({ join }: NodeConfig, own: readonly string[]): void {
  if (!join.every((seed) => own.includes(seed))) return;
  throw new ConfigError(`Cannot join through ${join.join(", ")}: that is this node itself`, {
    remedy: "Give --join the address of a member; a new cluster begins with `cstore cluster init`",
  });
}

/**
 * A voter that listens where the others do not look for it is lost to them. `member` is its address
 * in the log. Throws ConfigError.
 */
export function checkListen({ id, listen, advertise }: NodeConfig, member: string): void {
  if (listen === undefined || listen.port === 0 || member === "" || advertise === member) return;
  const { port } = parseEndpoint(member);
  if (port === 0 || port === listen.port) return;
  throw new ConfigError(
    `Cannot listen on ${writeEndpoint(listen)}: the members reach "${id}" at ${member}`,
    {
      remedy: `Start it without --listen; if ${member} is forwarded to it, add --advertise ${member}`,
    },
  );
}

/** Where an earlier start listened when it joined. */
export function readListen(files: FileSystem, directory: string): Endpoint | undefined {
  const bytes = readSmallFile(files, `${directory}/${LISTEN}`);
  return bytes && parseEndpoint(new TextDecoder().decode(bytes));
}
