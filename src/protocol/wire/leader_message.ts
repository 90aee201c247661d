/**
 * Body of a LEADER frame, in which a node names the leader and the members to its clients: term
 * (8), leader's node id (text), leader's address (text), count of members (2), their addresses
 * (texts).
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import { MEMBERS_MAX } from "../encoding/cluster_command.ts";

/** The leader and the members of a cluster, as one node knows them. Addresses are HOST:PORT. */
export interface LeaderNews {
  readonly term: number;
  /** Empty, like its address, while no leader is known. */
  readonly nodeId: string;
  readonly address: string;
  /** Addresses of all members that have one. */
  readonly members: readonly string[];
}

/** The body of the frame. */
export function encodeLeaderNews(news: LeaderNews): Uint8Array {
  const { term, nodeId, address, members } = news;
  assert(members.length <= MEMBERS_MAX, "a cluster has no more members than its limit");
  const writer = new ByteWriter(512).u64(term).text(nodeId).text(address).u16(members.length);
  for (const member of members) writer.text(member);
  return writer.written();
}

/** Throws {@link ProtocolError} for a body that no node writes. */
export function decodeLeaderNews(body: Uint8Array): LeaderNews {
  const reader = new ByteReader(body);
  const [term, nodeId, address, count] = [reader.u64(), reader.text(), reader.text(), reader.u16()];
  if (count > MEMBERS_MAX) throw new ProtocolError(`Cannot read the news of ${count} members`);
  const members = Array.from({ length: count }, () => reader.text());
  assert(reader.offset <= body.byteLength, "the fields are inside of the body");
  return { term, nodeId, address, members };
}
