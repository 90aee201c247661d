/**
 * The file `acknowledged` in a data directory: for each member the highest committed entry that its
 * log is known to have held durably. A data folder that is older than that has forgotten entries.
 * xxh64 of the rest (8 bytes, little-endian), then a CBOR map {format, members}.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { CStoreError } from "../base/errors.ts";
import { isFields } from "../base/value.ts";
import { DISK_FORMAT_VERSION } from "../base/version.ts";
import type { FileSystem } from "../platform/file_system.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import { MEMBERS_MAX } from "../protocol/encoding/cluster_command.ts";
import {
  bodyBehindChecksum,
  readSmallFile,
  withChecksum,
  writeFileDurably,
} from "./data_directory.ts";

const NAME = "acknowledged";
/** Characters of each id, as in a handshake. */
const ID_LENGTH_MAX = 200;

/** What a member is known to have held durably. */
export interface Acknowledged {
  readonly id: string;
  /** Of its data folder. */
  readonly incarnation: string;
  /** Of the process that acknowledged: what the same process says later is never a loss. */
  readonly bootId: string;
  /** Highest such entry that is committed: `1 <= index`. */
  readonly index: number;
}

/** Untrusted values as acknowledgements; undefined when they are none. */
export function acknowledgedIn(value: unknown): readonly Acknowledged[] | undefined {
  if (!Array.isArray(value) || value.length > MEMBERS_MAX) return undefined;
  assert(value.length <= MEMBERS_MAX, "no cluster has more members");
  const members = value.filter(isAcknowledged);
  assert(members.length <= value.length, "nothing is added");
  return members.length === value.length ? members : undefined;
}

function isAcknowledged(value: unknown): value is Acknowledged {
  if (!isFields(value)) return false;
  const { id, incarnation, bootId, index } = value;
  const isIndex = typeof index === "number" && Number.isSafeInteger(index) && index >= 1;
  const ids = [id, incarnation, bootId];
  return isIndex && ids.every((text) => typeof text === "string" && isIdLength(text.length));
}

function isIdLength(length: number): boolean {
  return length > 0 && length <= ID_LENGTH_MAX;
}

/** The acknowledgements in a directory; undefined when the file is there and damaged. */
export function readAcknowledged(
  files: FileSystem,
  directory: string,
): readonly Acknowledged[] | undefined {
  const bytes = readSmallFile(files, `${directory}/${NAME}`);
  if (bytes === undefined) return [];
  const body = bodyBehindChecksum(bytes);
  if (body === undefined) return undefined;
  assert(body.byteLength < bytes.byteLength, "the checksum takes some of the file");
  try {
    const fields = decodeUntrustedCbor(body);
    return isFields(fields) ? acknowledgedIn(fields.members) : undefined;
  } catch (error) {
    if (!(error instanceof CStoreError)) throw error;
    return undefined;
  }
}

/** Replaces the file. Rejects with StorageError. */
export async function writeAcknowledged(
  files: FileSystem,
  directory: string,
  members: readonly Acknowledged[],
): Promise<void> {
  assert(members.length <= MEMBERS_MAX, "a reader takes as many");
  const ids = new Set(members.map(({ id }) => id));
  assert(ids.size === members.length, "each member is there once");
  for (const { index } of members) assert(index >= 1, "entries are numbered from 1");
  const bytes = withChecksum(encodeCbor({ format: DISK_FORMAT_VERSION, members: [...members] }));
  await writeFileDurably(files, { directory, name: NAME, bytes });
}
