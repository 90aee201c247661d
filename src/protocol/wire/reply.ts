/**
 * The maps that answer STATUS, PROMOTE, CLUSTER and QUERY requests, as closed types, and how a
 * client reads them. A node is trusted with the contents, not with the shape: an answer that lacks
 * a field, or has one of another type, is a ProtocolError.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ProtocolError } from "../../base/errors.ts";
import { isFields } from "../../base/value.ts";
import type { MemberRole } from "../../raft/configuration.ts";
import type { IndexDefinition } from "../encoding/catalog_command.ts";
import { decodeUntrustedCbor } from "../encoding/cbor.ts";
import type { CollectionSettings } from "../encoding/collection_settings.ts";
import type { ClusterRequest } from "./request.ts";
import type { NodeStatus } from "./status.ts";

/** A finished hand-over of leadership. */
export interface PromoteReply {
  readonly from: string;
  readonly to: string;
  readonly term: number;
  /** Time in which the old leader saw no write committed, in milliseconds. */
  readonly stalledMs: number;
}

/** The members after a change. */
export interface MembersReply {
  /** Entry of the configuration. */
  readonly index: number;
  /** A joint configuration counts until the change ends. */
  readonly isJoint: boolean;
  readonly members: readonly {
    readonly id: string;
    readonly address: string;
    readonly role: MemberRole;
  }[];
}

/** The cluster that a node was let in to. */
export interface JoinReply extends MembersReply {
  readonly clusterId: string;
}

/** The entry at which all members freeze and digest their states. */
export interface VerifyReply {
  readonly index: number;
}

/** The rules by which the log is applied, and those that the members' builds know. */
export interface RulesReply {
  readonly rules: number;
  /** Of the answering build. */
  readonly newest: number;
  readonly members: readonly {
    readonly id: string;
    /** Null: no handshake showed it yet. */
    readonly newest: number | null;
    readonly isUp: boolean;
  }[];
}

/** Where a state stands. */
export interface StatePosition {
  /** Index of the last applied entry. */
  readonly index: number;
  readonly term: number;
  /** Sequence number of the next operation. */
  readonly nextSequence: number;
  /** Time of the state machine, ms since 1970. */
  readonly timeMs: number;
}

/** One collection of a digested state. */
export interface CollectionDigest {
  readonly name: string;
  readonly count: number;
  /** Of its last change and its indexes; 16 hex digits. */
  readonly catalog: string;
  /** 16 hex digits: the xxh64 of `ranges`. */
  readonly digest: string;
  /** For each range: XOR (8), sum (8), little-endian. */
  readonly ranges: Uint8Array;
}

/** A whole state. Digests are texts of 16 hex digits. */
export interface StateDigest {
  readonly position: StatePosition;
  readonly sessions: string;
  readonly members: string;
  /** Of the folders that ids are bound to, and of those that have left. */
  readonly bindings: string;
  /** In order of name. */
  readonly collections: readonly CollectionDigest[];
  /** Over all of the above. */
  readonly digest: string;
}

/** A document of a digested range. */
export interface DocumentDigest {
  readonly key: Uint8Array;
  readonly version: number;
  /** 16 hex digits. */
  readonly hash: string;
}

/** A member's state at an entry. */
export interface DigestReply extends StateDigest {
  readonly index: number;
}

/** The documents of one range of a digested state. */
export interface DocumentsReply {
  readonly index: number;
  readonly documents: readonly DocumentDigest[];
}

/** The reply to each CLUSTER request. */
export interface ClusterReplies {
  readonly join: JoinReply;
  readonly add: MembersReply;
  readonly remove: MembersReply;
  readonly replace: MembersReply;
  readonly recover: MembersReply;
  readonly role: MembersReply;
  readonly verify: VerifyReply;
  readonly digest: DigestReply;
  readonly documents: DocumentsReply;
  readonly rules: RulesReply;
  readonly upgrade: RulesReply;
}

/** The reply to any CLUSTER request. */
export type ClusterReply = ClusterReplies[ClusterRequest["action"]];

/** The reply to one kind of CLUSTER request. */
export type ClusterReplyTo<R extends ClusterRequest> = ClusterReplies[R["action"]];

/** An index of a collection, as the catalog lists it. */
export interface ListedIndex {
  readonly definition: IndexDefinition;
  /** False while it is being built. */
  readonly isReady: boolean;
}

/** A collection as the catalog lists it. */
export interface CollectionInfo {
  readonly name: string;
  readonly count: number;
  /** Bytes of memory for its documents. */
  readonly bytes: number;
  /** Only of the one collection that was asked for. */
  readonly indexes?: readonly ListedIndex[];
  /** Only of one that was made with settings. */
  readonly settings?: CollectionSettings;
}

/** The reply to the query `catalog`. */
export interface CatalogReply {
  /** The last applied operation. */
  readonly sequence: number;
  readonly collections: readonly CollectionInfo[];
}

/** A document that several nodes have changed without knowing of each other. */
export interface ListedConflict {
  /** Encoded, as all documents here. */
  readonly key: Uint8Array;
  /** What readers see; null: nothing. */
  readonly document: Uint8Array | null;
  readonly siblings: readonly {
    readonly document: Uint8Array;
    readonly nodeId: string;
    /** ms since 1970, by the writer's clock. */
    readonly writtenMs: number;
  }[];
  /** Why the collection's resolver gives no document; null unless it failed. */
  readonly failure: string | null;
}

/** The reply to the query `conflicts`. */
export interface ConflictsReply {
  /** Documents in conflict, also those that are not listed. */
  readonly total: number;
  readonly conflicts: readonly ListedConflict[];
}

/** The reply to the query `explain`. */
export interface Explanation {
  readonly plan: "ids" | "index" | "scan";
  /** Name of the index; an empty text for none. */
  readonly index: string;
  readonly ranges: number;
  /** Whether found documents must be put in order. */
  readonly sorts: boolean;
}

/** The reply to the query `watch`; `changes` are those of `api/changes.ts`. */
export interface WatchReply<Change> {
  /** To be given with the next request. */
  readonly since: number;
  readonly changes: readonly Change[];
}

type Kind = "text" | "number" | "boolean" | "list" | "map" | "bytes";
type Shape = Readonly<Record<string, Kind>>;

const MEMBERS: Shape = { index: "number", isJoint: "boolean", members: "list" };
const RULES: Shape = { rules: "number", newest: "number", members: "list" };
const CLUSTER_SHAPES: Readonly<Record<ClusterRequest["action"], Shape>> = {
  join: { ...MEMBERS, clusterId: "text" },
  add: MEMBERS,
  remove: MEMBERS,
  replace: MEMBERS,
  recover: MEMBERS,
  role: MEMBERS,
  verify: { index: "number" },
  digest: { index: "number", position: "map", digest: "text", collections: "list" },
  documents: { index: "number", documents: "list" },
  rules: RULES,
  upgrade: RULES,
};
const STATUS: Shape = {
  ...{ clusterId: "text", id: "text", pid: "number", version: "text", runtime: "text" },
  ...{ role: "text", term: "number", leader: "text", syncMode: "text", commitIndex: "number" },
  ...{ appliedIndex: "number", firstIndex: "number", lastIndex: "number", alarms: "list" },
  ...{ documents: "number", members: "list", isRestoring: "boolean" },
};
const PROMOTE: Shape = { from: "text", to: "text", term: "number", stalledMs: "number" };

/** Reads the reply to STATUS. Throws ProtocolError. */
export function decodeStatus(payload: Uint8Array): NodeStatus {
  return shaped<NodeStatus>(payload, STATUS);
}

/** Reads the reply to PROMOTE. Throws ProtocolError. */
export function decodePromoteReply(payload: Uint8Array): PromoteReply {
  return shaped<PromoteReply>(payload, PROMOTE);
}

/** Reads the reply to a CLUSTER request. Throws ProtocolError. */
export function decodeClusterReply<R extends ClusterRequest>(
  request: R,
  payload: Uint8Array,
): ClusterReplyTo<R> {
  return shaped<ClusterReplyTo<R>>(payload, CLUSTER_SHAPES[request.action]);
}

/** Reads the reply to the query `catalog`. Throws ProtocolError. */
export function decodeCatalogReply(payload: Uint8Array): CatalogReply {
  return shaped<CatalogReply>(payload, { collections: "list" });
}

/** Reads the reply to the query `conflicts`. Throws ProtocolError. */
export function decodeConflictsReply(payload: Uint8Array): ConflictsReply {
  const reply = shaped<ConflictsReply>(payload, { total: "number", conflicts: "list" });
  assert(reply.conflicts.length < payload.byteLength, "every conflict took bytes of the answer");
  return reply;
}

/** Reads the reply to the query `explain`. Throws ProtocolError. */
export function decodeExplanation(payload: Uint8Array): Explanation {
  return shaped<Explanation>(payload, { plan: "text", index: "text", ranges: "number" });
}

/** Reads the reply to the query `watch`. Throws ProtocolError. */
export function decodeWatchReply<Change>(payload: Uint8Array): WatchReply<Change> {
  return shaped<WatchReply<Change>>(payload, { since: "number", changes: "list" });
}

/** Reads the reply to the query `log`: sealed batches. Throws ProtocolError. */
export function decodeLogReply(payload: Uint8Array): readonly Uint8Array[] {
  const batches = decodeUntrustedCbor(payload);
  const isList = Array.isArray(batches) && batches.every((batch) => batch instanceof Uint8Array);
  if (isList) {
    assert(batches.length < payload.byteLength, "every batch took a byte of the answer");
    return batches;
  }
  throw new ProtocolError("Cannot read the log: the answer is no list of batches");
}

function shaped<T>(payload: Uint8Array, shape: Shape): T {
  const value = decodeUntrustedCbor(payload);
  if (!isFields(value)) throw new ProtocolError("Cannot read the answer: it is no map");
  for (const [name, kind] of Object.entries(shape)) {
    if (kindOf(value[name]) === kind) continue;
    throw new ProtocolError(`Cannot read the answer: "${name}" is no ${kind}`);
  }
  const names = Object.keys(shape);
  assert(Object.keys(value).length >= names.length, "an answer has every field of its shape");
  assert(payload.byteLength >= names.length, "every field took a byte of the answer");
  // The named fields are there; what is inside of lists and maps is the node's word.
  return value as T;
}

function kindOf(value: unknown): Kind | undefined {
  if (typeof value === "string") return "text";
  if (typeof value === "number") return "number";
  if (typeof value === "boolean") return "boolean";
  if (value instanceof Uint8Array) return "bytes";
  if (Array.isArray(value)) return "list";
  return isFields(value) ? "map" : undefined;
}
