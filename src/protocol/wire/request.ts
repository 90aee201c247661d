/**
 * Every request that a client can send, as a closed union: the payloads of `client_message.ts`
 * decoded and checked. Whoever handles a request gets a member of {@link Request}, never a map.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader } from "../../base/bytes.ts";
import { type Collation, readCollation } from "../../base/collation.ts";
import { ValidationError } from "../../base/errors.ts";
import { KEY_SIZE_MAX } from "../../base/limits.ts";
import { type Fields, isCount, isFields, type Value } from "../../base/value.ts";
import { decodeUntrustedCbor } from "../encoding/cbor.ts";
import {
  ACKNOWLEDGEMENTS,
  type Acknowledgement,
  FLAG_CONDITIONAL,
  FLAG_REPEAT,
  READ_LEVELS,
  type ReadLevel,
  type ReadTarget,
  type RequestView,
  readReadTarget,
  WRITE_HEADER_SIZE,
} from "./client_message.ts";

const CLUSTER_REQUEST_SIZE_MAX = 16 * 1024;
const QUERY_SIZE_MAX = 256 * 1024;
const TEXT_LENGTH_MAX = 300;

/** A node asks to be let in. */
export interface JoinRequest {
  readonly action: "join";
  readonly id: string;
  /** HOST:PORT where the others reach it; empty: the one that the members know. */
  readonly address: string;
  /** Of the data folder that it is about to make. */
  readonly incarnation: string;
  /** Joins as a learner that stays one. */
  readonly standby?: boolean | undefined;
  /** Incarnation of the damaged folder that the new one replaces. */
  readonly repairs?: string | undefined;
}

/** A change of the members, or a question about the cluster: the map of a CLUSTER request. */
export type ClusterRequest =
  | JoinRequest
  | {
      readonly action: "add";
      readonly id: string;
      readonly address: string;
      readonly standby?: boolean | undefined;
    }
  | { readonly action: "remove"; readonly id: string }
  | { readonly action: "replace"; readonly id: string; readonly by: string }
  | { readonly action: "recover"; readonly id: string }
  | { readonly action: "role"; readonly id: string; readonly role: string }
  | { readonly action: "verify" }
  | { readonly action: "rules" }
  | { readonly action: "upgrade" }
  | { readonly action: "digest"; readonly index: number }
  | {
      readonly action: "documents";
      readonly index: number;
      readonly collection: string;
      readonly range: number;
    };

/** A query of documents. */
export interface QueryFields {
  readonly collection: string;
  readonly idField: string;
  readonly filter: Fields;
  readonly sort: Fields;
  readonly skip: number;
  /** 0: no limit. */
  readonly limit: number;
  readonly projection: Fields;
  /** Name of the index to use; empty for any. */
  readonly hint: string;
  /** Values at the paths of `sort`: only documents behind them. */
  readonly after?: readonly Value[];
  /** How texts are sorted; by UTF-16 code units without. */
  readonly collation?: Collation;
}

/** The map of a QUERY request. */
export type QueryRequest =
  | (QueryFields & {
      readonly action: "find";
      /** Documents of one answer; 0: as many as fit. */
      readonly pageSize: number;
    })
  | (QueryFields & { readonly action: "count" | "explain" })
  | { readonly action: "next" | "close" | "backupNext"; readonly cursor: number }
  | { readonly action: "backup" }
  | {
      readonly action: "watch";
      /** Undefined: from now on. */
      readonly since: number | undefined;
      readonly waitMs: number;
      /** Empty for all. */
      readonly collection: string;
    }
  | { readonly action: "log"; readonly after: number; readonly term: number }
  | { readonly action: "catalog"; readonly collection: string | undefined }
  | {
      readonly action: "conflicts";
      readonly collection: string;
      /** Of one document, by its encoded id; undefined for all. */
      readonly key: Uint8Array | undefined;
      /** Documents of the answer. */
      readonly limit: number;
    };

/** A change of the members that an operator or a node asks for. */
export type MembershipRequest = Exclude<
  ClusterRequest,
  { readonly action: "verify" | "digest" | "documents" | "rules" | "upgrade" }
>;

/** A QUERY request whose fields may still be missing, as a client writes it. */
export type QueryRequestFields = {
  readonly action: QueryRequest["action"];
} & { readonly [name: string]: unknown };

interface Head {
  readonly requestId: number;
  readonly deadlineMs: number;
}

/** One request. A COMMAND stays where it is in its frame, between `start` and `end`. */
export type Request =
  | (RequestView & { readonly kind: "COMMAND" })
  | (RequestView & { readonly kind: "WRITE" } & WriteHead)
  | (Head & { readonly kind: "READ" | "COUNT"; readonly target: ReadTarget })
  | (Head & { readonly kind: "STATUS" })
  | (Head & { readonly kind: "PROMOTE"; readonly nodeId: string })
  | (Head & { readonly kind: "CLUSTER"; readonly cluster: ClusterRequest })
  | (Head & {
      readonly kind: "QUERY";
      readonly level: ReadLevel;
      readonly query: QueryRequest;
    });

/** Whether a request is a command, which needs no decoding. */
export function isCommand(view: RequestView): view is RequestView & { readonly kind: "COMMAND" } {
  assert(view.start <= view.end, "a payload does not end before it begins");
  return view.kind === "COMMAND";
}

/**
 * Decodes the untrusted payload of a request. Throws ProtocolError for bytes that no client
 * writes, and ValidationError for fields that the request cannot have.
 */
export function decodeRequest(body: Uint8Array, view: RequestView): Request {
  const { kind, requestId, deadlineMs, start, end } = view;
  assert(start <= end, "a payload does not end before it begins");
  assert(end <= body.byteLength, "a payload ends inside its frame");
  const head = { requestId, deadlineMs };
  switch (kind) {
    case "COMMAND":
      return { ...view, kind };
    case "WRITE":
      return { ...view, kind, ...readWriteHead(body, view), start: start + WRITE_HEADER_SIZE };
    case "READ":
    case "COUNT":
      return { ...head, kind, target: readReadTarget(body, start, end) };
    case "STATUS":
      return { ...head, kind };
    case "PROMOTE":
      return { ...head, kind, nodeId: readNodeId(body.subarray(start, end)) };
    case "CLUSTER":
      return { ...head, kind, cluster: readClusterRequest(body.slice(start, end)) };
    case "QUERY": {
      // Behind an empty payload stands the next request.
      const level = start < end ? READ_LEVELS[body[start]!] : undefined;
      if (level === undefined) throw new ValidationError("Cannot query: the read level is unknown");
      assert(start < end, "the level is a byte of the payload");
      return { ...head, kind, level, query: readQueryRequest(body.slice(start + 1, end)) };
    }
  }
}

/** What stands before the command of a WRITE. */
export interface WriteHead {
  /** Undefined: as the node is set. */
  readonly ack: Acknowledgement | undefined;
  readonly isRepeat: boolean;
  /** Whether conditions on versions are compared with what the node shows; else refused. */
  readonly isConditional: boolean;
}

function readWriteHead(body: Uint8Array, { start, end }: RequestView): WriteHead {
  assert(end <= body.byteLength, "a payload ends inside its frame");
  if (end - start < WRITE_HEADER_SIZE) throw new ValidationError("Cannot write: it is cut off");
  const [number, flags] = [body[start]!, body[start + 1]!];
  if (number > ACKNOWLEDGEMENTS.length || flags > FLAG_REPEAT + FLAG_CONDITIONAL) {
    throw new ValidationError("Cannot write: its head is unknown");
  }
  assert(number <= ACKNOWLEDGEMENTS.length, "0 stands for none of them");
  assert(start + WRITE_HEADER_SIZE <= end, "a head is followed by a command");
  const isRepeat = (flags & FLAG_REPEAT) !== 0;
  const isConditional = (flags & FLAG_CONDITIONAL) !== 0;
  return { ack: ACKNOWLEDGEMENTS[number - 1], isRepeat, isConditional };
}

function readNodeId(payload: Uint8Array): string {
  const reader = new ByteReader(payload);
  const nodeId = reader.text();
  assert(nodeId.length <= reader.offset, "UTF-8 takes a byte for each UTF-16 unit, at least");
  return nodeId;
}

function readClusterRequest(payload: Uint8Array): ClusterRequest {
  const fields = readMap(payload, CLUSTER_REQUEST_SIZE_MAX);
  const action = textField(fields, "action");
  const id = (): string => textField(fields, "id");
  const standby = fields["standby"] === true;
  switch (action) {
    case "join":
      return {
        ...{ action, id: id(), standby, address: optionalText(fields["address"]) ?? "" },
        incarnation: textField(fields, "incarnation"),
        repairs: optionalText(fields["repairs"]),
      };
    case "add":
      return { action, id: id(), address: textField(fields, "address"), standby };
    case "remove":
    case "recover":
      return { action, id: id() };
    case "replace":
      return { action, id: id(), by: textField(fields, "by") };
    case "role":
      return { action, id: id(), role: textField(fields, "role") };
    case "verify":
    case "rules":
    case "upgrade":
      return { action };
    case "digest":
      return { action, index: numberField(fields, "index") };
    case "documents": {
      const collection = optionalText(fields["collection"]);
      if (collection === undefined) {
        throw new ValidationError("Cannot list documents: no collection is named");
      }
      const [index, range] = [numberField(fields, "index"), numberField(fields, "range")];
      return { action, index, collection, range };
    }
    default:
      throw new ValidationError(`Cannot do "${action}": it is unknown`);
  }
}

function readQueryRequest(payload: Uint8Array): QueryRequest {
  const fields = readMap(payload, QUERY_SIZE_MAX);
  const { action } = fields;
  switch (action) {
    case "find":
      return { action, ...readQueryFields(fields), pageSize: numberOf(fields["pageSize"]) };
    case "count":
    case "explain":
      return { action, ...readQueryFields(fields) };
    case "next":
    case "close":
    case "backupNext":
      return { action, cursor: numberOf(fields["cursor"]) };
    case "backup":
      return { action };
    case "watch":
      return { action, ...readWatch(fields) };
    case "log": {
      const { after, term } = fields;
      if (isCount(after) && isCount(term)) return { action, after, term };
      throw new ValidationError("Cannot read the log: after and term are whole numbers");
    }
    case "conflicts": {
      const { key } = fields;
      const one = key instanceof Uint8Array && key.byteLength <= KEY_SIZE_MAX ? key : undefined;
      const collection = textField(fields, "collection");
      return { action, collection, key: one, limit: numberField(fields, "limit") };
    }
    case "catalog": {
      const { collection } = fields;
      return { action, collection: typeof collection === "string" ? collection : undefined };
    }
    default:
      throw new ValidationError("Cannot query: the action is unknown");
  }
}

/** Reads the fields of a query; what is missing has its default. Throws ValidationError. */
export function readQueryFields(fields: Fields): QueryFields {
  refuseUnknown(fields, QUERY_NAMES);
  const { filter = {}, sort = {}, projection = {}, idField = "id", hint = "" } = fields;
  const { skip = 0, limit = 0, collection, after } = fields;
  if (!isFields(filter) || !isFields(sort) || !isFields(projection)) {
    throw new ValidationError("Cannot query: filter, sort and projection are maps");
  }
  if (typeof hint !== "string" || typeof idField !== "string") {
    throw new ValidationError("Cannot query: hint and idField are texts");
  }
  if (!isCount(skip) || !isCount(limit)) {
    throw new ValidationError("Cannot query: skip and limit are whole numbers, and not negative");
  }
  if (typeof collection !== "string") {
    throw new ValidationError("Cannot query: no collection is named");
  }
  if (after !== undefined && !Array.isArray(after)) {
    throw new ValidationError("Cannot query: after is an array of values");
  }
  assert(Number.MAX_SAFE_INTEGER >= skip, "skip is a safe integer");
  assert(Number.MAX_SAFE_INTEGER >= limit, "limit is a safe integer");
  const collation = readCollation(fields["collation"]);
  const order = {
    ...(after !== undefined && { after: after as readonly Value[] }),
    ...(collation !== undefined && { collation }),
  };
  return { collection, filter, sort, projection, idField, hint, skip, limit, ...order };
}

/** Fields of a query; `pageSize` belongs to `find`. */
const QUERY_NAMES: ReadonlySet<string> = new Set([
  ...["action", "collection", "idField", "filter", "sort", "projection", "hint", "skip", "limit"],
  ...["pageSize", "after", "collation"],
]);
const WATCH_NAMES: ReadonlySet<string> = new Set(["action", "collection", "since", "waitMs"]);

/** A name that was misspelt would leave its default in force. Throws ValidationError. */
function refuseUnknown(fields: Fields, known: ReadonlySet<string>): void {
  const names = Object.keys(fields);
  const unknown = names.find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new ValidationError(`Cannot query: the field "${unknown.slice(0, 100)}" is unknown`, {
      remedy: `Known: ${[...known].join(", ")}`,
    });
  }
  assert(names.length <= known.size, "every field is a known one");
}

function readWatch(fields: Fields): {
  readonly since: number | undefined;
  readonly waitMs: number;
  readonly collection: string;
} {
  refuseUnknown(fields, WATCH_NAMES);
  const { since, waitMs = 0, collection = "" } = fields;
  const isRead = (since === undefined || isCount(since)) && isCount(waitMs);
  if (!isRead || typeof collection !== "string") {
    throw new ValidationError("Cannot watch: since and waitMs are whole numbers");
  }
  return { since, waitMs, collection };
}

/** The map in a CLUSTER or QUERY request. Throws ValidationError. */
function readMap(payload: Uint8Array, sizeMax: number): Fields {
  const value = payload.byteLength > sizeMax ? undefined : decodeUntrustedCbor(payload);
  if (isFields(value)) {
    assert(payload.byteLength <= sizeMax, "a longer map was not decoded");
    assert(Object.keys(value).length <= payload.byteLength, "every field took a byte");
    return value;
  }
  throw new ValidationError(`Cannot read the request: it is not a map of at most ${sizeMax} bytes`);
}

function textField(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value === "string" && value !== "" && value.length <= TEXT_LENGTH_MAX) return value;
  throw new ValidationError(`Cannot read the request: "${name}" must be a text`);
}

function numberField(fields: Fields, name: string): number {
  const value = fields[name];
  if (isCount(value)) return value;
  throw new ValidationError(`Cannot read the request: "${name}" must be a whole number`);
}

function optionalText(value: Value): string | undefined {
  return typeof value === "string" && value.length <= TEXT_LENGTH_MAX ? value : undefined;
}

/** A number of the request; 0 for anything else. */
function numberOf(value: Value): number {
  return typeof value === "number" ? value : 0;
}
