/**
 * The data directory of one node: its lock, its identity, and the names of its files.
 *
 * ```
 * LOCK                 process that holds the directory
 * identity             cluster id, node id, incarnation; see below
 * wal/NNNNNNNNNN.segment   the log; wal/mark: the durable watermark
 * snapshots/           states of the state machine
 * acknowledged         what each member is known to hold; see `acknowledged_file.ts`
 * agreement            incarnation and agreement of collections that every node writes;
 *                      see `operations/agreement_file.ts`
 * lost/                entries that a deposed leader had answered early (ASYNC) and must drop
 * ```
 *
 * `identity`: xxh64 of the rest (8 bytes, little-endian), then a CBOR map {format, clusterId,
 * nodeId, incarnation, isJoined}. It is written once, aside, synced and renamed.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { viewOf } from "../base/bytes.ts";
import { ConfigError, CorruptionError } from "../base/errors.ts";
import type { Fields } from "../base/value.ts";
import { DISK_FORMAT_VERSION } from "../base/version.ts";
import type { FileSystem } from "../platform/file_system.ts";
import type { Platform } from "../platform/platform.ts";
import { randomId } from "../platform/random.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import { checksum64 } from "../protocol/encoding/checksum.ts";
import type { LogIdentity } from "./identity.ts";

/** Bytes; identities, marks and addresses are far smaller. */
const SMALL_FILE_SIZE_MAX = 64 * 1024;
/** Bytes of the checksum before a body. */
const CHECKSUM_SIZE = 8;

/** The identity that a data directory should have. */
export interface ExpectedIdentity {
  /** Undefined: that of an existing directory. */
  readonly clusterId: string | undefined;
  readonly nodeId: string;
  /** Of a new directory that joins a cluster; without it the directory is no joining one. */
  readonly incarnation?: string;
}

function notInitialized(path: string): [string, { remedy: string }] {
  const remedy =
    "Name the cluster's nodes with --cluster, join one with --join, or begin one with `cstore cluster init`";
  return [`Cannot start: "${path}" holds no node yet, and no cluster is named`, { remedy }];
}

/** An opened data directory. */
export interface DataDirectory {
  readonly path: string;
  readonly identity: LogIdentity;
  /** Whether the directory was empty. */
  readonly isNew: boolean;
  release(): void;
}

/** Locks the directory and reads its identity, or gives it one. */
export async function openDataDirectory(
  platform: Platform,
  path: string,
  expected: ExpectedIdentity,
): Promise<DataDirectory> {
  const { files } = platform;
  files.makeDirectory(path);
  const lock = files.lock(`${path}/LOCK`);
  try {
    const found = readIdentity(files, path);
    if (found !== undefined) {
      checkIdentity(found, expected, path);
      assert(found.nodeId === expected.nodeId, "the directory of another node is refused");
      return { path, identity: found, isNew: false, release: () => lock.release() };
    }
    if (files.list(`${path}/wal`).length > 0) {
      throw new CorruptionError("Cannot open the data directory: it holds a log but no identity", {
        file: `${path}/identity`,
        byte: 0,
      });
    }
    // The directory may be new: its own name is made durable before anything in it counts.
    await syncNames(files, path);
    const { clusterId, nodeId, incarnation = randomId(platform.random) } = expected;
    if (clusterId === undefined) throw new ConfigError(...notInitialized(path));
    const isJoined = expected.incarnation !== undefined;
    const identity = { clusterId, nodeId, incarnation, isJoined };
    await writeIdentityFile(files, path, { name: "identity", identity });
    const written = readIdentity(files, path);
    assert(written?.incarnation === incarnation, "the incarnation can be read back");
    assert(written.nodeId === nodeId, "the node's id can be read back");
    assert(written.clusterId === clusterId, "the cluster's id can be read back");
    return { path, identity, isNew: true, release: () => lock.release() };
  } catch (error) {
    lock.release();
    throw error;
  }
}

/** Reads the identity of a directory without locking it; undefined when there is none. */
export function readIdentity(files: FileSystem, path: string): LogIdentity | undefined {
  return readIdentityFile(files, `${path}/identity`);
}

/** Reads a file with an identity; undefined when there is none. Throws CorruptionError. */
export function readIdentityFile(files: FileSystem, name: string): LogIdentity | undefined {
  const bytes = readSmallFile(files, name);
  if (bytes === undefined) return undefined;
  const body = bodyBehindChecksum(bytes);
  if (body === undefined) {
    throw new CorruptionError("Cannot read the identity: its checksum does not match", {
      file: name,
      byte: 0,
    });
  }
  const fields = decodeUntrustedCbor(body) as Fields;
  const { format, clusterId, nodeId, incarnation, isJoined } = fields;
  if (format !== DISK_FORMAT_VERSION) {
    throw new ConfigError(`Cannot open "${name}": it has disk format ${String(format)}`);
  }
  return {
    clusterId: String(clusterId),
    nodeId: String(nodeId),
    incarnation: String(incarnation),
    isJoined: isJoined === true,
  };
}

/** Writes an identity under a name. */
export async function writeIdentityFile(
  files: FileSystem,
  path: string,
  file: { readonly name: string; readonly identity: LogIdentity },
): Promise<void> {
  const { clusterId, nodeId, incarnation, isJoined = false } = file.identity;
  const fields = { clusterId, nodeId, incarnation, isJoined };
  const bytes = withChecksum(encodeCbor({ format: DISK_FORMAT_VERSION, ...fields }));
  assert(bytes.byteLength <= SMALL_FILE_SIZE_MAX, "a reader reads the whole file");
  await writeFileDurably(files, { directory: path, name: file.name, bytes });
}

/** A file's content: xxh64 of the body (8 bytes, little-endian), then the body. */
export function withChecksum(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(CHECKSUM_SIZE + body.byteLength);
  bytes.set(body, CHECKSUM_SIZE);
  viewOf(bytes).setBigUint64(0, checksum64(body), true);
  assert(bodyBehindChecksum(bytes)?.byteLength === body.byteLength, "a reader finds the body");
  return bytes;
}

/** The body of such a content, a view; undefined when its checksum does not match. */
export function bodyBehindChecksum(bytes: Uint8Array): Uint8Array | undefined {
  if (bytes.byteLength < CHECKSUM_SIZE) return undefined;
  const body = bytes.subarray(CHECKSUM_SIZE);
  assert(body.byteLength + CHECKSUM_SIZE === bytes.byteLength, "the body is all the rest");
  return viewOf(bytes).getBigUint64(0, true) === checksum64(body) ? body : undefined;
}

/** The bytes of a small file, of a larger one only the first; undefined when there is none. */
export function readSmallFile(
  files: FileSystem,
  path: string,
  sizeMax = SMALL_FILE_SIZE_MAX,
): Uint8Array | undefined {
  if (!files.exists(path)) return undefined;
  const file = files.open(path, "read");
  const bytes = new Uint8Array(Math.min(file.size(), sizeMax));
  const size = file.read(0, bytes);
  file.close();
  assert(size <= bytes.byteLength, "a read does not leave its target");
  assert(size <= sizeMax, "a small file is read");
  return bytes.subarray(0, size);
}

/** Writes a file aside, syncs it, renames it into place and syncs the directory. */
export async function writeFileDurably(
  files: FileSystem,
  target: { readonly directory: string; readonly name: string; readonly bytes: Uint8Array },
): Promise<void> {
  const path = `${target.directory}/${target.name}`;
  files.remove(`${path}.tmp`);
  const file = files.open(`${path}.tmp`, "write");
  try {
    file.write(0, target.bytes);
    assert(file.size() === target.bytes.byteLength, "the file holds these bytes only");
    await file.sync();
  } finally {
    file.close();
  }
  files.rename(`${path}.tmp`, path);
  await files.syncDirectory(target.directory);
}

/** Makes the names of a directory and of all that hold it durable: any of them may be new. */
export async function syncNames(files: FileSystem, path: string): Promise<void> {
  await files.syncDirectory(parentOf(path));
  for (let at = parentOf(path); at !== "/" && at !== "."; at = parentOf(at)) {
    assert(parentOf(at) !== at, "the way to the root ends");
    try {
      await files.syncDirectory(parentOf(at));
    } catch {
      return; // This process made no directory that it may not read.
    }
  }
}

/** The directory that holds a name. */
export function parentOf(path: string): string {
  const end = path.lastIndexOf("/");
  assert(end < path.length, "the place lies inside the path");
  if (end === 0) return "/";
  return end === -1 ? "." : path.slice(0, end);
}

function checkIdentity(found: LogIdentity, expected: ExpectedIdentity, path: string): void {
  if (found.nodeId !== expected.nodeId) {
    throw new ConfigError(
      `Cannot open "${path}": it belongs to node "${found.nodeId}", not to "${expected.nodeId}"`,
      { remedy: "Start the node with its own id, or give it another directory" },
    );
  }
  if (expected.clusterId !== undefined && found.clusterId !== expected.clusterId) {
    throw new ConfigError(
      `Cannot open "${path}": it belongs to cluster ${found.clusterId}, ` +
        `not to ${expected.clusterId}`,
      {
        remedy: "Leave --cluster out: the directory knows its cluster; or give another directory",
      },
    );
  }
}
