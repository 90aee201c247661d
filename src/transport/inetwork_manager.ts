/**
 * The network, as replication uses it.
 *
 * @module
 */

import type { ReplicationMessage } from "../protocol/wire/replication_message.ts";

/** Events, with the listener's arguments. */
export interface NetworkEvents {
  nodeConnected: { readonly nodeId: string };
  nodeDisconnected: { readonly nodeId: string };
  /** A link could not be made or broke; it is tried again. */
  nodeError: { readonly nodeId: string; readonly error: Error };
  /** A connection that belongs to no known node failed. */
  error: { readonly error: Error };
  message: ReplicationMessage;
}

/** Counters of one node's links. */
export interface NetworkMetrics {
  readonly messagesSent: number;
  readonly messagesReceived: number;
  /** Messages for peers that were not connected or whose queue was full. */
  readonly messagesDropped: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Mean of the measured round trips, in milliseconds; 0 before the first. */
  readonly averageLatency: number;
}

/**
 * Messages between nodes. Sending is best effort: a dead peer is normal and never throws; that the
 * own port could not be opened is an error of every call.
 */
export interface INetworkManager {
  readonly nodeId: string;
  /** Resolves when the message is queued, or dropped by its kind's policy. */
  sendMessage(nodeId: string, message: ReplicationMessage): Promise<void>;
  broadcastMessage(message: ReplicationMessage): Promise<void>;
  /** Listens to every message; may give a function that ends it. */
  onMessage(listener: (message: ReplicationMessage) => void): void;
  /**
   * Keeps a link to a node from now on; resolves when it is up for the first time. Rejects, and
   * keeps nothing, when that takes too long.
   */
  connect(nodeId: string, address: string, port?: number): Promise<void>;
  disconnect(nodeId: string): Promise<void>;
  getConnectedNodes(): string[];
  isConnected(nodeId: string): boolean;
  getMetrics(): NetworkMetrics;
  on<K extends keyof NetworkEvents>(
    event: K,
    listener: (value: NetworkEvents[K]) => void,
  ): () => void;
  close(): Promise<void>;
}
