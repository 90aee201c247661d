/**
 * Clients with unique values, so that every read can be traced to a write.
 *
 * @module
 */

import type { Collection, Item } from "../../src/api/collection.ts";
import { CStoreError, VersionConflictError } from "../../src/base/errors.ts";
import { Client } from "../../src/client/connection/client.ts";
import { RemoteDatabase } from "../../src/client/remote_database.ts";
import { sleep } from "../../src/platform/clock.ts";
import type { Platform } from "../../src/platform/platform.ts";
import type { SeededRandom } from "../../src/platform/random.ts";
import type { Operation } from "./checkers/history.ts";

interface Doc extends Item {
  id: string;
  value: string;
  /** Makes the log grow faster than the number of operations does. */
  padding: string;
}

/** How clients behave. */
export interface WorkloadOptions {
  readonly keys: number;
  readonly timeoutMs: number;
  /** Mean pause between two operations of one client, in milliseconds. */
  readonly thinkMs: number;
  /** Operations that one client has under way at most. */
  readonly inFlight: number;
  /** Characters in each document beside its value. */
  readonly paddingLength?: number;
}

/** Mean pause of a client in a hurry. */
const HURRIED_THINK_MS = 2;

/** One client and what it does, until it is stopped. */
export class SimulatedClient {
  readonly #number: number;
  readonly #platform: Platform;
  readonly #random: SeededRandom;
  readonly #history: Operation[];
  readonly #options: WorkloadOptions;
  #collection: Collection<Doc> | undefined;
  #client: Client | undefined;
  #isStopped = false;
  #values = 0;
  readonly #padding: string;
  #underway = 0;
  #hurryUntilMs = 0;
  /** What ends each pause. */
  readonly #sleeping = new Set<() => void>();
  /** Value and version last seen of each key. */
  readonly #known = new Map<string, { value: string | null; version: number }>();

  constructor(
    number: number,
    parts: { platform: Platform; random: SeededRandom; history: Operation[] },
    options: WorkloadOptions,
  ) {
    this.#number = number;
    this.#platform = parts.platform;
    this.#random = parts.random;
    this.#history = parts.history;
    this.#options = options;
    this.#padding = "x".repeat(options.paddingLength ?? 0);
  }

  /** Name of its process. */
  get name(): string {
    return `c${this.#number}`;
  }

  /** Every second client, for faults that hit half of them. */
  get isOdd(): boolean {
    return this.#number % 2 === 1;
  }

  get isIdle(): boolean {
    return this.#underway === 0;
  }

  async start(addresses: readonly string[]): Promise<void> {
    const { clock } = this.#platform;
    while (!this.#isStopped) {
      try {
        this.#client = await Client.connect(addresses, {
          platform: this.#platform,
          timeoutMs: this.#options.timeoutMs,
        });
        break;
      } catch (error) {
        if (!(error instanceof CStoreError)) throw error;
        await sleep(clock, 50);
      }
    }
    if (this.#client === undefined) return;
    this.#collection = new RemoteDatabase(this.#client).collection<Doc>("registers");
    for (let lane = 0; lane < this.#options.inFlight; lane += 1) void this.#lane();
  }

  /** Goes on without pauses for a while: something is about to happen. */
  hurry(forMs: number): void {
    this.#hurryUntilMs = this.#platform.clock.nowMs() + forMs;
    for (const wake of this.#sleeping) wake();
  }

  /** Begins nothing more. */
  stop(): void {
    this.#isStopped = true;
  }

  close(): void {
    this.#client?.close();
  }

  /** Reads a key for the final comparison; an election may take longer than one request waits. */
  async readUntilAnswered(key: string): Promise<void> {
    while ((await this.#execute({ kind: "get", key })) !== "ok") {
      await sleep(this.#platform.clock, 50);
    }
  }

  async #lane(): Promise<void> {
    while (!this.#isStopped) {
      const key = `k${this.#random.below(this.#options.keys)}`;
      const roll = this.#random.below(100);
      const kind = roll < 40 ? "put" : roll < 75 ? "get" : roll < 92 ? "cas" : "remove";
      this.#underway += 1;
      await this.#execute({ kind, key });
      this.#underway -= 1;
      await this.#think();
    }
  }

  /** Pauses between two operations; {@link hurry} ends it. */
  #think(): Promise<void> {
    const { clock } = this.#platform;
    const isHurried = clock.nowMs() < this.#hurryUntilMs;
    const thinkMs = isHurried ? HURRIED_THINK_MS : this.#options.thinkMs;
    const delayMs = this.#random.below(thinkMs * 2);
    return new Promise((resolve) => {
      const wake = (): void => {
        cancel();
        this.#sleeping.delete(wake);
        resolve();
      };
      const cancel = clock.setTimer(delayMs, wake);
      this.#sleeping.add(wake);
    });
  }

  async #execute(what: { kind: Operation["kind"]; key: string }): Promise<Operation["outcome"]> {
    const { kind, key } = what;
    const known = this.#known.get(key);
    const isWrite = kind === "put" || kind === "cas";
    const value = isWrite ? `v${this.#number}-${this.#values}` : null;
    if (isWrite) this.#values += 1;
    const startMs = this.#platform.clock.nowMs();
    const operation: Operation = {
      client: this.#number,
      kind,
      key,
      value,
      expect: known?.value ?? null,
      startMs,
      endMs: startMs,
      outcome: "unknown",
    };
    this.#history.push(operation);
    try {
      await this.#call(operation, known?.version ?? 0);
      operation.outcome = "ok";
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      if (error instanceof VersionConflictError) operation.outcome = "fail";
      if (error.retry === "safe" && kind !== "get") operation.outcome = "unknown";
    }
    operation.endMs = this.#platform.clock.nowMs();
    return operation.outcome;
  }

  async #call(operation: Operation, knownVersion: number): Promise<void> {
    const collection = this.#collection;
    if (collection === undefined) return;
    const { key } = operation;
    const document = { id: key, value: operation.value ?? "", padding: this.#padding };
    switch (operation.kind) {
      case "put":
        operation.version = await collection.put(document);
        this.#known.set(key, { value: operation.value, version: operation.version });
        return;
      case "cas":
        operation.version = await collection.put(document, { ifVersion: knownVersion });
        this.#known.set(key, { value: operation.value, version: operation.version });
        return;
      case "remove":
        await collection.delete(key);
        return;
      case "get": {
        const found = await collection.findVersioned(key);
        operation.value = found?.document.value ?? null;
        if (found !== undefined) operation.version = found.version;
        this.#known.set(key, { value: operation.value, version: found?.version ?? 0 });
        return;
      }
    }
  }
}
