/**
 * Maps that answer requests: their shapes are checked, not their contents.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ProtocolError } from "../../../src/base/errors.ts";
import { encodeCbor } from "../../../src/protocol/encoding/cbor.ts";
import {
  decodeCatalogReply,
  decodeClusterReply,
  decodeExplanation,
  decodeLogReply,
  decodePromoteReply,
  decodeStatus,
  decodeWatchReply,
} from "../../../src/protocol/wire/reply.ts";
import type { ClusterRequest } from "../../../src/protocol/wire/request.ts";

type Decode = (payload: Uint8Array) => unknown;
const MEMBERS = { index: 4, isJoint: false, members: [] };
const STATUS = {
  ...{ clusterId: "aa", id: "n1", pid: 7, version: "0.1.0", runtime: "bun", role: "leader" },
  ...{ term: 3, leader: "n1", syncMode: "SYNC", commitIndex: 9, appliedIndex: 9, firstIndex: 1 },
  ...{ lastIndex: 9, alarms: [], documents: 2, members: [], isRestoring: false },
};

const clusterReply = (action: ClusterRequest["action"]): Decode => {
  return (payload) => decodeClusterReply({ action } as ClusterRequest, payload);
};

const REPLIES: readonly (readonly [string, Decode, Readonly<Record<string, unknown>>])[] = [
  ["status", decodeStatus, STATUS],
  ["promotion", decodePromoteReply, { from: "n1", to: "n2", term: 4, stalledMs: 0.5 }],
  ["join", clusterReply("join"), { ...MEMBERS, clusterId: "aa" }],
  ["add", clusterReply("add"), MEMBERS],
  ["remove", clusterReply("remove"), MEMBERS],
  ["replace", clusterReply("replace"), MEMBERS],
  ["recover", clusterReply("recover"), MEMBERS],
  ["role", clusterReply("role"), MEMBERS],
  ["verify", clusterReply("verify"), { index: 4 }],
  ["digest", clusterReply("digest"), { index: 4, position: {}, digest: "ff", collections: [] }],
  ["documents", clusterReply("documents"), { index: 4, documents: [] }],
  ["catalog", decodeCatalogReply, { collections: [] }],
  ["explain", decodeExplanation, { plan: "scan", index: "", ranges: 0 }],
  ["watch", decodeWatchReply, { since: 4, changes: [] }],
];

describe.each(REPLIES)("%s", (_name, decode, fields) => {
  test("is read, with fields of later builds", () => {
    const given = { ...fields, later: true };
    expect(decode(encodeCbor(given))).toEqual(given);
  });

  test.each(Object.keys(fields))("without %s, or with another type there, is refused", (name) => {
    const { [name]: present, ...others } = fields;
    const message = `Cannot read the answer: "${name}" is no `;
    const wrong = [null, Uint8Array.of(1), typeof present === "string" ? 1 : "1"];
    const payloads = [others, ...wrong.map((value) => ({ ...fields, [name]: value }))];
    for (const payload of payloads) {
      expect(() => decode(encodeCbor(payload as never))).toThrow(ProtocolError);
      expect(() => decode(encodeCbor(payload as never))).toThrow(message);
    }
  });

  test("what is no map is refused", () => {
    for (const payload of [1, "a", [], null]) {
      expect(() => decode(encodeCbor(payload))).toThrow("it is no map");
    }
  });
});

test("the log is a list of batches", () => {
  const batches = [Uint8Array.of(1, 2), new Uint8Array(0)];
  expect(decodeLogReply(encodeCbor(batches))).toEqual(batches);
  expect(decodeLogReply(encodeCbor([]))).toEqual([]);
  for (const payload of [1, {}, [1], [Uint8Array.of(1), "a"]]) {
    expect(() => decodeLogReply(encodeCbor(payload as never))).toThrow(ProtocolError);
  }
});
