/**
 * Streams of entries between logs of their own, without consensus: each node writes what it is
 * given to its own log and sends it to the others, which write it to theirs. Nobody decides one
 * order.
 *
 * @module
 */

import { ClosedError, type CStoreError, DeadlineError, NoQuorumError } from "../../base/errors.ts";
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
  /** Names this end's stream, unlike any before it. */
  readonly stream: string;
  /** Another node's entry is in the own log. */
  received(entry: WALEntry, from: NodeId): void;
  /** Others have this node's entry, as many as the mode wants. */
  replicated(entry: WALEntry): void;
  failed(error: CStoreError): void;
}

interface Waiting {
  readonly acknowledged: Set<NodeId>;
  readonly needed: number;
  end(error?: CStoreError): void;
}

/** The entry as it travels. Its stream and its number in it name it, wherever it is written. */
interface StreamedEntry {
  /** Of the message. */
  readonly id: string;
  /** One sender, from its start to its end. */
  readonly stream: string;
  readonly number: number;
  readonly entry: WALEntry;
}

/**
 * One node's end of the streams. What it sent and what it has of others is known for as long as it
 * lives: an entry that was streamed before a restart is neither sent by `sync` nor known again.
 */
export class WALStream {
  readonly #parts: StreamParts;
  /** Numbers of this node's entries in its stream, by their places in its log. */
  readonly #own = new Map<number, number>();
  /** Entries of others that are written to the own log, or were, by their streams and numbers. */
  readonly #seen = new Map<string, Promise<void>>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #syncs = new Map<string, (error?: CStoreError) => void>();
  #number = 0;
  #entries = 0;

  constructor(parts: StreamParts) {
    this.#parts = parts;
  }

  /** What waits is rejected with ClosedError. */
  close(): void {
    const error = new ClosedError("Cannot replicate: the stream is closed");
    for (const waiting of [...this.#waiting.values()]) waiting.end(error);
    for (const end of [...this.#syncs.values()]) end(error);
  }

  /**
   * Writes an entry to the own log and sends it to every connected node. In SYNC mode it rejects
   * with NoQuorumError when nobody is connected, and with DeadlineError when too few acknowledged
   * it in time; the own log has it all the same.
   */
  async stream(entry: WALEntry): Promise<void> {
    const { wal, network, config } = this.#parts;
    await wal.writeEntry(entry);
    this.#entries += 1;
    this.#own.set(entry.sequenceNumber, this.#entries);
    const message = this.#messageOf(entry, this.#entries);
    if (config.syncMode === "ASYNC") {
      await network.broadcastMessage(message);
      this.#parts.replicated(entry);
      return;
    }
    const others = network.getConnectedNodes?.().length ?? 0;
    if (others === 0) {
      throw new NoQuorumError("Cannot replicate the entry: no other node is connected");
    }
    const needed = majority(others + 1) - 1;
    const send = (): Promise<void> => network.broadcastMessage(message);
    await this.#acknowledgedBy(needed, { id: message.data.id, send });
    this.#parts.replicated(entry);
  }

  /** Writes another node's entry to the own log. */
  async receive(entry: WALEntry, from: NodeId): Promise<void> {
    await this.#parts.wal.writeEntry(entry);
    // The place may have been one of an own entry that was cut off.
    this.#own.delete(entry.sequenceNumber);
    this.#parts.received(entry, from);
  }

  /**
   * Sends what this node streamed, from a place in its log on, to another node, and takes what that
   * one streamed. Resolves when both have it; at once when the node is not connected. Rejects with
   * DeadlineError, ClosedError.
   */
  async sync(nodeId: NodeId, from: number): Promise<void> {
    if (this.#parts.network.isConnected?.(nodeId) !== true) return;
    await this.#sendOwn(nodeId, from);
    await this.#askFor(nodeId, from);
  }

  async #sendOwn(to: NodeId, from: number): Promise<void> {
    const { wal, network } = this.#parts;
    for (const entry of await wal.readEntries(Math.max(1, from))) {
      const number = this.#own.get(entry.sequenceNumber);
      if (number === undefined) continue;
      const message = this.#messageOf(entry, number);
      const send = (): Promise<void> => network.sendMessage(to, message);
      await this.#acknowledgedBy(1, { id: message.data.id, send });
    }
  }

  /** Takes a message of the network. */
  onMessage(type: string, from: NodeId, data: unknown): void {
    if (type === "WAL_ENTRY" && isStreamed(data)) this.#onEntry(from, data);
    if (type === "ACK" && isNamed(data)) this.#onAck(from, data.id);
    if (type === "SYNC_REQUEST" && isRequest(data)) this.#onRequest(from, data);
    if (type === "SYNC_RESPONSE" && isNamed(data)) this.#syncs.get(data.id)?.();
  }

  #onEntry(from: NodeId, { id, stream, number, entry }: StreamedEntry): void {
    const name = JSON.stringify([from, stream, number]);
    // One that was sent again is written once, and acknowledged again when it is.
    const writing = this.#seen.get(name) ?? this.receive(entry, from);
    const isAgain = this.#seen.has(name);
    this.#seen.set(name, writing);
    writing.then(
      () => this.#send(from, "ACK", { id }),
      (error: CStoreError) => {
        if (this.#seen.get(name) === writing) this.#seen.delete(name);
        if (!isAgain) this.#parts.failed(error);
      },
    );
  }

  #onAck(from: NodeId, id: string): void {
    const waiting = this.#waiting.get(id);
    waiting?.acknowledged.add(from);
    if (waiting !== undefined && waiting.acknowledged.size >= waiting.needed) waiting.end();
  }

  #onRequest(from: NodeId, request: { readonly id: string; readonly from: number }): void {
    const answered = (): void => this.#send(from, "SYNC_RESPONSE", { id: request.id });
    this.#sendOwn(from, request.from).then(answered, this.#parts.failed);
  }

  #askFor(nodeId: NodeId, from: number): Promise<void> {
    const { clock, config } = this.#parts;
    const id = this.#nextId();
    return new Promise((resolve, reject) => {
      const cancel = clock.setTimer(config.asyncTimeout, () => {
        this.#syncs.delete(id);
        reject(new DeadlineError(`Cannot sync with "${nodeId}" within ${config.asyncTimeout} ms`));
      });
      this.#syncs.set(id, (error) => {
        cancel();
        this.#syncs.delete(id);
        if (error === undefined) resolve();
        else reject(error);
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
      const end = (error?: unknown): void => {
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
      this.#waiting.set(id, { acknowledged, needed, end });
      send().catch(end);
    });
  }

  #messageOf(entry: WALEntry, number: number) {
    const data: StreamedEntry = { id: this.#nextId(), stream: this.#parts.stream, number, entry };
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
  const { stream, number, entry } = (data ?? {}) as Partial<StreamedEntry>;
  const isEntry = typeof entry === "object" && entry !== null;
  return isNamed(data) && typeof stream === "string" && Number.isSafeInteger(number) && isEntry;
}
