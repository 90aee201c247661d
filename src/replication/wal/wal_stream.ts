/**
 * Streams of entries between logs of their own, without consensus: each node writes what it is
 * given to its own log and sends it to the others, which write it to theirs. Nobody decides one
 * order.
 *
 * @module
 */

import { type CStoreError, DeadlineError, NoQuorumError } from "../../base/errors.ts";
import type { Clock } from "../../platform/clock.ts";
import { majority } from "../../raft/quorum.ts";
import type { NodeId } from "../../raft/types.ts";
import type { IWALManager, WALEntry } from "../../storage/wal/iwal_manager.ts";
import type { INetworkManager } from "../../transport/inetwork_manager.ts";

/** How entries are streamed. */
export interface StreamConfig {
  /** SYNC: a majority of the connected nodes and this one have the entry. ASYNC: this one has. */
  readonly syncMode: "SYNC" | "ASYNC";
  /** Longest wait for acknowledgements, in milliseconds. */
  readonly asyncTimeout: number;
  /** Times that an entry is sent again within that time. */
  readonly maxRetries: number;
}

/** Parts of a stream. */
export interface StreamParts {
  readonly wal: IWALManager;
  readonly network: INetworkManager;
  readonly clock: Clock;
  readonly config: StreamConfig;
  /** Another node's entry is in the own log. */
  received(entry: WALEntry, from: NodeId): void;
  failed(error: CStoreError): void;
}

interface Waiting {
  readonly acknowledged: Set<NodeId>;
  readonly needed: number;
  resolve(): void;
}

/** The entry as it travels: by its place in the log of the node that had it first. */
interface StreamedEntry {
  readonly id: string;
  readonly place: number;
  readonly entry: WALEntry;
}

/** One node's end of the streams. */
export class WALStream {
  readonly #parts: StreamParts;
  /** Entries of this node, by their places in its log. */
  readonly #own = new Set<number>();
  /** Places of other nodes' entries that are in the own log. */
  readonly #seen = new Map<NodeId, Set<number>>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #syncs = new Map<string, () => void>();
  #number = 0;

  constructor(parts: StreamParts) {
    this.#parts = parts;
  }

  /**
   * Writes an entry to the own log and sends it to every connected node. In SYNC mode it rejects
   * with NoQuorumError when nobody is connected, and with DeadlineError when too few acknowledged
   * it in time; the own log has it all the same.
   */
  async stream(entry: WALEntry): Promise<void> {
    const { wal, network, config } = this.#parts;
    await wal.writeEntry(entry);
    this.#own.add(entry.sequenceNumber);
    const message = this.#messageOf(entry);
    if (config.syncMode === "ASYNC") {
      await network.broadcastMessage(message);
      return;
    }
    const others = network.getConnectedNodes?.().length ?? 0;
    if (others === 0) {
      throw new NoQuorumError("Cannot replicate the entry: no other node is connected");
    }
    const needed = majority(others + 1) - 1;
    const send = (): Promise<void> => network.broadcastMessage(message);
    await this.#acknowledgedBy(needed, { id: message.data.id, send });
  }

  /** Writes another node's entry to the own log. */
  async receive(entry: WALEntry, from: NodeId): Promise<void> {
    await this.#parts.wal.writeEntry(entry);
    this.#parts.received(entry, from);
  }

  /**
   * Sends this node's entries from a place in its log on to another node, and takes that node's.
   * Resolves when both have them; at once when the node is not connected. Rejects with
   * DeadlineError.
   */
  async sync(nodeId: NodeId, from: number): Promise<void> {
    const { wal, network } = this.#parts;
    if (network.isConnected?.(nodeId) !== true) return;
    for (const entry of await wal.readEntries(Math.max(1, from))) {
      if (!this.#own.has(entry.sequenceNumber)) continue;
      const message = this.#messageOf(entry);
      const send = (): Promise<void> => network.sendMessage(nodeId, message);
      await this.#acknowledgedBy(1, { id: message.data.id, send });
    }
    await this.#askFor(nodeId, from);
  }

  /** Takes a message of the network. */
  onMessage(type: string, from: NodeId, data: unknown): void {
    if (type === "WAL_ENTRY" && isStreamed(data)) this.#onEntry(from, data);
    if (type === "ACK" && isNamed(data)) this.#onAck(from, data.id);
    if (type === "SYNC_REQUEST" && isRequest(data)) this.#onRequest(from, data);
    if (type === "SYNC_RESPONSE" && isNamed(data)) this.#syncs.get(data.id)?.();
  }

  #onEntry(from: NodeId, { id, place, entry }: StreamedEntry): void {
    const seen = this.#seen.get(from) ?? new Set<number>();
    this.#seen.set(from, seen);
    const acknowledge = (): void => this.#send(from, "ACK", { id });
    // One that was sent again is acknowledged again, and written once.
    if (seen.has(place)) {
      acknowledge();
      return;
    }
    seen.add(place);
    this.receive(entry, from).then(acknowledge, (error: CStoreError) => {
      seen.delete(place);
      this.#parts.failed(error);
    });
  }

  #onAck(from: NodeId, id: string): void {
    const waiting = this.#waiting.get(id);
    waiting?.acknowledged.add(from);
    if (waiting !== undefined && waiting.acknowledged.size >= waiting.needed) waiting.resolve();
  }

  #onRequest(from: NodeId, request: { readonly id: string; readonly from: number }): void {
    const { network, wal, failed } = this.#parts;
    const answer = async (): Promise<void> => {
      for (const entry of await wal.readEntries(Math.max(1, request.from))) {
        if (!this.#own.has(entry.sequenceNumber)) continue;
        const message = this.#messageOf(entry);
        const send = (): Promise<void> => network.sendMessage(from, message);
        await this.#acknowledgedBy(1, { id: message.data.id, send });
      }
      this.#send(from, "SYNC_RESPONSE", { id: request.id });
    };
    answer().catch(failed);
  }

  #askFor(nodeId: NodeId, from: number): Promise<void> {
    const { clock, config } = this.#parts;
    const id = this.#nextId();
    return new Promise((resolve, reject) => {
      const cancel = clock.setTimer(config.asyncTimeout, () => {
        this.#syncs.delete(id);
        reject(new DeadlineError(`Cannot sync with "${nodeId}" within ${config.asyncTimeout} ms`));
      });
      this.#syncs.set(id, () => {
        cancel();
        this.#syncs.delete(id);
        resolve();
      });
      this.#send(nodeId, "SYNC_REQUEST", { id, from });
    });
  }

  /** Sends until so many nodes acknowledged. Rejects with DeadlineError. */
  #acknowledgedBy(
    needed: number,
    { id, send }: { readonly id: string; readonly send: () => Promise<void> },
  ): Promise<void> {
    const { clock, config } = this.#parts;
    const { asyncTimeout, maxRetries } = config;
    const acknowledged = new Set<NodeId>();
    return new Promise((resolve, reject) => {
      const end = (error: unknown): void => {
        for (const stop of stops) stop();
        this.#waiting.delete(id);
        if (error === undefined) resolve();
        else reject(error);
      };
      const late = (): void => {
        const count = `${acknowledged.size} of ${needed} nodes acknowledged it`;
        end(new DeadlineError(`Cannot replicate the entry in ${asyncTimeout} ms: ${count}`));
      };
      const again = Array.from({ length: maxRetries }, (_, i) => {
        const afterMs = ((i + 1) * asyncTimeout) / (maxRetries + 1);
        return clock.setTimer(afterMs, () => void send().catch(end));
      });
      const stops = [clock.setTimer(asyncTimeout, late), ...again];
      this.#waiting.set(id, { acknowledged, needed, resolve: () => end(undefined) });
      send().catch(end);
    });
  }

  #messageOf(entry: WALEntry) {
    const data: StreamedEntry = { id: this.#nextId(), place: entry.sequenceNumber, entry };
    return { ...this.#envelope(), type: "WAL_ENTRY", data };
  }

  #send(to: NodeId, type: "ACK" | "SYNC_REQUEST" | "SYNC_RESPONSE", data: object): void {
    const { network, failed } = this.#parts;
    network.sendMessage(to, { ...this.#envelope(), type, data }).catch(failed);
  }

  #envelope() {
    const sourceNodeId = this.#parts.network.nodeId ?? "";
    return { sourceNodeId, timestamp: this.#parts.clock.wallMs(), checksum: "" };
  }

  #nextId(): string {
    this.#number += 1;
    return `${this.#parts.network.nodeId ?? ""}-${this.#number}`;
  }
}

function isNamed(data: unknown): data is { readonly id: string } {
  return typeof (data as { readonly id?: unknown } | null)?.id === "string";
}

function isRequest(data: unknown): data is { readonly id: string; readonly from: number } {
  return isNamed(data) && typeof (data as { readonly from?: unknown }).from === "number";
}

function isStreamed(data: unknown): data is StreamedEntry {
  const { place, entry } = (data ?? {}) as { readonly place?: unknown; readonly entry?: unknown };
  const isEntry = typeof entry === "object" && entry !== null;
  return isNamed(data) && Number.isSafeInteger(place) && isEntry;
}
