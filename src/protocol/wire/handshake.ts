/**
 * The first frame in each direction: who is there, and which cluster and versions it speaks for.
 * HELLO from the side that connected, WELCOME back, or ERROR and the end of the connection. HELLO
 * and WELCOME are CBOR maps with these fields; others are ignored.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { type CStoreError, HandshakeError, ProtocolError } from "../../base/errors.ts";
import { HANDSHAKE_BODY_SIZE_MAX } from "../../base/limits.ts";
import { FIRST_RULES, type RulesVersion } from "../../base/rules_version.ts";
import { isCount } from "../../base/value.ts";
import { decodeUntrustedCbor, encodeCbor } from "../encoding/cbor.ts";
import { readErrorMessage, writeErrorMessage } from "./error_message.ts";

/** What one side says of itself. Text fields are empty where they do not apply (clients). */
export interface Hello {
  readonly role: "peer" | "client";
  /** Empty from a client that does not care. */
  readonly clusterId: string;
  readonly nodeId: string;
  /** HOST:PORT where a node listens: whoever does not know it yet can answer there. */
  readonly address: string;
  /** The node that the caller believes it reaches; empty when it does not know. */
  readonly expects: string;
  /** Random per data folder: a wiped folder is another one. */
  readonly incarnation: string;
  /** Random per process start. */
  readonly bootId: string;
  readonly term: number;
  readonly isLeader: boolean;
  /** Last entry that is durable in the sender's log; older builds leave it out. */
  readonly durableIndex?: number;
  readonly version: string;
  /** What the sender can do, for example batch codecs. */
  readonly features: readonly string[];
}

const TEXTS = [
  "clusterId",
  "nodeId",
  "address",
  "expects",
  "incarnation",
  "bootId",
  "version",
] as const;
const TEXT_LENGTH_MAX = 200;

/** The body of a HELLO or WELCOME frame. */
export function encodeHello(hello: Hello): Uint8Array {
  const body = encodeCbor(hello).slice();
  assert(body.byteLength <= HANDSHAKE_BODY_SIZE_MAX, "a handshake fits its frame");
  return body;
}

/** Reads untrusted bytes. Throws ProtocolError. */
export function decodeHello(body: Uint8Array): Hello {
  const value = decodeUntrustedCbor(body);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed("a map");
  const fields = value as Readonly<Record<string, unknown>>;
  for (const name of TEXTS) {
    const text = fields[name];
    if (typeof text !== "string" || text.length > TEXT_LENGTH_MAX) throw malformed(name);
  }
  const { role, term, isLeader, features, durableIndex = 0 } = fields;
  if (role !== "peer" && role !== "client") throw malformed("role");
  if (typeof isLeader !== "boolean") throw malformed("isLeader");
  if (!isCount(term)) throw malformed("term");
  if (!isCount(durableIndex)) throw malformed("durableIndex");
  if (!Array.isArray(features) || features.length > 64) throw malformed("features");
  if (!features.every((feature) => typeof feature === "string")) throw malformed("features");
  assert(features.length < body.byteLength, "every feature took bytes of the body");
  return fields as unknown as Hello;
}

function malformed(field: string): ProtocolError {
  return new ProtocolError(`Cannot read the handshake: ${field} is missing or of the wrong type`);
}

/** The body of an ERROR frame: one error. */
export function encodeConnectionError(error: CStoreError): Uint8Array {
  const writer = new ByteWriter();
  writeErrorMessage(writer, error);
  assert(writer.size <= HANDSHAKE_BODY_SIZE_MAX, "an error fits a frame before the handshake");
  return writer.copy();
}

/** Reads the body of an ERROR frame. Throws ProtocolError. */
export function decodeConnectionError(body: Uint8Array): CStoreError {
  const reader = new ByteReader(body);
  const error = readErrorMessage(reader);
  assert(reader.offset <= body.byteLength, "an error ends inside its frame");
  return error;
}

/** Refuses a peer or node of another cluster, with both ids in the message. */
export function checkSameCluster(own: Hello, other: Hello): void {
  if (other.clusterId === "" && other.role === "client") return;
  if (own.clusterId === "" && own.role === "client") return;
  if (own.clusterId !== other.clusterId) {
    throw new HandshakeError(
      `Cannot connect "${own.nodeId || "client"}" and "${other.nodeId || "client"}": ` +
        `they belong to clusters ${own.clusterId} and ${other.clusterId}`,
      { remedy: "Check --cluster: the list of nodes must be the same on every node" },
    );
  }
}

/** In a HELLO: the node's leaders serve reads on leases. */
export const FEATURE_LEASE_READS = "lease-reads";

/** In a HELLO, before a number: the election timeout on which leases rest, in milliseconds. */
export const FEATURE_LEASE_MS = "lease-ms-";

/** In a HELLO: the node's log holds nothing but the membership. */
export const FEATURE_EMPTY_LOG = "empty-log";

/** In a HELLO, before a number: the newest rules version that the node's build knows. */
export const FEATURE_RULES = "rules-";

/** The newest rules that a node's build knows; builds from before the rules had numbers know 1. */
export function rulesOf({ features }: Hello): RulesVersion {
  const named = features.find((feature) => feature.startsWith(FEATURE_RULES));
  const rules = Number(named?.slice(FEATURE_RULES.length) ?? FIRST_RULES);
  const known = Number.isSafeInteger(rules) ? Math.max(FIRST_RULES, rules) : FIRST_RULES;
  assert(known >= FIRST_RULES, "every build knows the first rules");
  assert(known <= Number.MAX_SAFE_INTEGER, "a larger number was not taken");
  return known;
}
