/**
 * What a node adds to the plain network.
 *
 * @module
 */

import type { CStoreError } from "../base/errors.ts";
import type { Hello } from "../protocol/wire/handshake.ts";
import type { MessageRoute, ReplicationMessage } from "../protocol/wire/replication_message.ts";
import type { SnapshotMessage } from "../protocol/wire/snapshot_message.ts";
import type { RaftMessage } from "../raft/message.ts";
import type { ConnectionHandlers, PeerConnection } from "./peer_connection.ts";

/** A node's additions to the plain network: its identity, admission, and service of clients. */
export interface NetworkHooks {
  /** Fields of the own handshake that change while the node runs. */
  readonly identity?: () => Partial<Hello>;
  /** Refuses a node. Throws HandshakeError. */
  readonly admit?: (hello: Hello) => void;
  /** A client shook hands: gives its connection's handlers. Without it clients are refused. */
  readonly onClient?: (connection: PeerConnection) => ConnectionHandlers;
  /** A message of consensus; the hot path beside `on("message")`. */
  readonly onRaftMessage?: (message: RaftMessage, from: Hello) => void;
  /** A message between nodes that is not of consensus. */
  readonly onNodeMessage?: (message: ReplicationMessage) => void;
  /** A piece of a snapshot, or what belongs to it; a chunk's bytes are valid during the call. */
  readonly onSnapshotMessage?: (message: SnapshotMessage) => void;
  /** A message about collections that every node writes; its bytes are valid during the call. */
  readonly onMasterMessage?: (body: Uint8Array, route: MessageRoute) => void;
  /**
   * A peer's process was seen through the handshake, in either direction; `isWelcome`: it let this
   * node in.
   */
  readonly onPeerSeen?: (hello: Hello, isWelcome: boolean) => void;
  /** Bytes of a message that is not whole yet came from a peer. */
  readonly onPeerSpeaks?: (nodeId: string) => void;
  /** Bytes of a message of this node, which is not whole there yet, have reached a peer. */
  readonly onPeerTakes?: (nodeId: string) => void;
  /** A dial failed or was refused. */
  readonly onPeerFailed?: (nodeId: string, error: CStoreError) => void;
}
