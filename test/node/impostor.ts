/**
 * Somebody who speaks like a node of a cluster, and lies.
 *
 * @module
 */

import {
  BATCH_HEADER_SIZE,
  type BatchCodec,
  sealBatch,
} from "../../src/protocol/encoding/batch_codec.ts";
import { checksum64 } from "../../src/protocol/encoding/checksum.ts";
import { encodeFrame } from "../../src/protocol/wire/frame_header.ts";
import type { Hello } from "../../src/protocol/wire/handshake.ts";
import { ReplicationProtocol } from "../../src/protocol/wire/replication_message.ts";
import type { RaftMessage } from "../../src/raft/message.ts";
import type { Entry } from "../../src/raft/types.ts";
import { RawConnection } from "./raw_connection.ts";
import { type Seat, waitFor } from "./test_cluster.ts";

/** What a node says of itself to anybody: enough to claim to be it. */
export async function welcomeOf(seat: Seat): Promise<Hello> {
  const connection = await RawConnection.shake(seat.address);
  const welcome = await connection.welcome();
  connection.close();
  return welcome;
}

/** A connection to `victim` in the name of another node. */
export async function impersonate(victim: Seat, seat: Seat): Promise<RawConnection> {
  const { clusterId, incarnation, bootId, term, features } = await welcomeOf(seat);
  const identity = { role: "peer", nodeId: seat.id, clusterId, incarnation } as const;
  return RawConnection.shake(victim.address, { ...identity, bootId, term, features });
}

/** A frame with a message of consensus. */
export function forged(message: Record<string, unknown>): Uint8Array {
  return ReplicationProtocol.encodeRaft({ from: "", to: "", ...message } as unknown as RaftMessage);
}

/** Waits until the victim has handled everything sent before. */
export async function settled(connection: RawConnection): Promise<void> {
  connection.send(encodeFrame("PING", 77, new Uint8Array(0)));
  await waitFor("the victim", () => {
    return connection.isClosed || connection.frames.some((frame) => frame.requestId === 77);
  });
}

/** A batch with a checksum that is right, whatever is in it. */
export function batchOf(
  place: { readonly term: number; readonly index: number; readonly firstSequence: number },
  body: Uint8Array,
  fields: { readonly codec: BatchCodec; readonly rawSize: number },
): Entry {
  const bytes = new Uint8Array(BATCH_HEADER_SIZE + body.byteLength);
  bytes.set(body, BATCH_HEADER_SIZE);
  const bodyChecksum = checksum64(body);
  sealBatch({ ...fields, bytes, count: 1, timeMs: 0, bodyChecksum }, place);
  return { ...place, count: 1, bytes };
}
