/**
 * Clients that write unique values to few keys and note what they see.
 *
 * @module
 */

import type { Collection } from "../../src/api/collection.ts";
import { CStoreError, VersionConflictError } from "../../src/base/errors.ts";
import { connect, type RemoteDatabase } from "../../src/client/remote_database.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import type { SeededRandom } from "../../src/platform/random.ts";
import type { MembershipRequest } from "../../src/protocol/wire/request.ts";
import type { SeenOperation } from "./history_file.ts";

/** The collection that the clients use. */
export const COLLECTION = "registers";

/** A stored document. */
export interface Register {
  readonly id: string;
  readonly value: string;
  /** The value again and again: a document of two writes would show. */
  readonly filling: string;
}

const FILLING_REPEATS_MAX = 200;

/** How clients behave. */
export interface LoadOptions {
  /** Connections to the cluster. */
  readonly connections: number;
  /** Clients on each connection; each has one operation under way. */
  readonly clientsEach: number;
  readonly keys: number;
  /** Longest wait for an answer, in milliseconds. */
  readonly timeoutMs: number;
  /** Longest pause between two operations of a client, in milliseconds. */
  readonly thinkMs: number;
}

/** A promise still open so long after its deadline never settles. */
const HUNG_AFTER_MS = 20_000;
const RECONNECT_MS = 100;
const NS_PER_MS = 1e6;

interface Known {
  readonly value: string | null;
  readonly version: number;
}

/** What an operation is to do; a cas comes with what was read before. */
interface Wanted {
  readonly client: number;
  readonly op: SeenOperation["op"];
  readonly key: string;
  readonly known?: Known;
}

type Outcome = Pick<SeenOperation, "outcome" | "error">;

/** All clients and what they saw. */
export class Load {
  readonly history: SeenOperation[] = [];
  readonly failures: string[] = [];
  readonly #options: LoadOptions;
  readonly #random: SeededRandom;
  readonly #startMs = systemClock.nowMs();
  readonly #databases: RemoteDatabase[] = [];
  readonly #underway = new Map<number, { readonly what: Wanted; readonly sinceMs: number }>();
  readonly #keys = new Set<string>();
  #round = 0;
  #values = 0;
  #clients = 0;
  /** Clients that have not ended. */
  #running = 0;
  #isStopped = false;

  constructor(options: LoadOptions, random: SeededRandom) {
    this.#options = options;
    this.#random = random;
  }

  /** Begins; resolves when every connection is up. */
  async start(addresses: string): Promise<void> {
    for (let i = 0; i < this.#options.connections; i += 1) {
      const collection = await this.#connect(addresses);
      for (let j = 0; j < this.#options.clientsEach; j += 1) {
        this.#clients += 1;
        void this.#run(this.#clients, collection);
      }
    }
  }

  /** Operations that were acknowledged. */
  get acknowledged(): number {
    return this.history.reduce((sum, { outcome }) => sum + (outcome === "ok" ? 1 : 0), 0);
  }

  /** Keys that were used. */
  get keys(): readonly string[] {
    return [...this.#keys];
  }

  /** The keys of the present round. */
  get roundKeys(): readonly string[] {
    return this.keys.filter((key) => key.startsWith(`r${this.#round}-`));
  }

  /** Goes on with other keys: a history of one key stays short enough to be judged. */
  nextRound(): void {
    this.#round += 1;
  }

  /** Begins nothing more; resolves when every client has its last answer. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    const endMs = systemClock.nowMs() + this.#options.timeoutMs + HUNG_AFTER_MS;
    while (this.#running > 0 && systemClock.nowMs() < endMs) await sleep(systemClock, 5);
    for (const { what, sinceMs } of this.#underway.values()) {
      const ageMs = Math.round(systemClock.nowMs() - sinceMs);
      this.failures.push(`hung: ${what.op} of ${what.key} without an answer for ${ageMs} ms`);
    }
  }

  /**
   * Reads keys linearizably until each was answered, as further clients; false if not in time.
   */
  async readAll(addresses: string, keys: readonly string[], limitMs: number): Promise<boolean> {
    const endMs = systemClock.nowMs() + limitMs;
    const collection = await this.#connect(addresses, limitMs);
    const left = [...keys];
    const reader = async (client: number): Promise<void> => {
      for (let key = left.pop(); key !== undefined; key = left.pop()) {
        while ((await this.#execute({ client, op: "get", key }, collection)).outcome !== "ok") {
          if (systemClock.nowMs() > endMs) {
            left.push(key);
            return;
          }
          await sleep(systemClock, 20);
        }
      }
    };
    const first = this.#clients + 1;
    this.#clients += 8;
    await Promise.all(Array.from({ length: 8 }, (_, i) => reader(first + i)));
    return left.length === 0;
  }

  /** Asks the cluster for another leader; whether it came about. */
  async promote(nodeId: string): Promise<boolean> {
    const [database] = this.#databases;
    if (database === undefined) return false;
    try {
      await database.promote(nodeId);
      return true;
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      return false; // Other faults get in its way; what clients see is judged anyway.
    }
  }

  /** Asks the leader for a change of the members; the error's code, "" when it came about. */
  async change(request: MembershipRequest): Promise<string> {
    const [database] = this.#databases;
    if (database === undefined) return "UNREACHABLE";
    try {
      await database.cluster(request);
      return "";
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      return error.code;
    }
  }

  async close(): Promise<void> {
    for (const database of this.#databases) await database.close();
  }

  async #connect(addresses: string, limitMs = 60_000): Promise<Collection<Register>> {
    const endMs = systemClock.nowMs() + limitMs;
    for (;;) {
      try {
        const database = await connect(addresses, { timeoutMs: this.#options.timeoutMs });
        this.#databases.push(database);
        return database.collection<Register>(COLLECTION);
      } catch (error) {
        if (!(error instanceof CStoreError) || systemClock.nowMs() > endMs) throw error;
        await sleep(systemClock, RECONNECT_MS);
      }
    }
  }

  /** One client; what it throws that is no error of cstore is a failure of the run. */
  async #run(client: number, collection: Collection<Register>): Promise<void> {
    this.#running += 1;
    try {
      await this.#operate(client, collection);
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.failures.push(`client ${client} threw ${text}`);
    } finally {
      this.#running -= 1;
    }
  }

  async #operate(client: number, collection: Collection<Register>): Promise<void> {
    while (!this.#isStopped) {
      const key = `r${this.#round}-k${this.#random.below(this.#options.keys)}`;
      this.#keys.add(key);
      const roll = this.#random.below(100);
      if (roll < 40) await this.#execute({ client, op: "put", key }, collection);
      else if (roll < 65) await this.#execute({ client, op: "get", key }, collection);
      else if (roll < 75) await this.#execute({ client, op: "delete", key }, collection);
      else await this.#compareAndSet(client, key, collection);
      await sleep(systemClock, this.#random.below(this.#options.thinkMs + 1));
    }
  }

  async #compareAndSet(
    client: number,
    key: string,
    collection: Collection<Register>,
  ): Promise<void> {
    const {
      outcome,
      value,
      version = 0,
    } = await this.#execute({ client, op: "get", key }, collection);
    if (outcome !== "ok") return;
    await sleep(systemClock, this.#random.below(this.#options.thinkMs + 1));
    await this.#execute({ client, op: "cas", key, known: { value, version } }, collection);
  }

  /** Executes an operation and notes it. */
  async #execute(what: Wanted, collection: Collection<Register>): Promise<SeenOperation> {
    const { client, op, key, known } = what;
    const isValued = op === "put" || op === "cas";
    this.#values += isValued ? 1 : 0;
    const wanted = isValued ? `v${this.#values}` : null;
    this.#underway.set(client, { what, sinceMs: systemClock.nowMs() });
    const start = this.#nowNs();
    let seen: Partial<Known> = {};
    let outcome: Outcome = { outcome: "ok" };
    try {
      seen = await call(what, wanted, collection);
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      outcome = outcomeOf(op, error);
    }
    const operation: SeenOperation = {
      client,
      op,
      key,
      value: seen.value ?? wanted,
      ...(op === "cas" && { expect: known?.value ?? null }),
      start,
      end: this.#nowNs(),
      ...outcome,
      ...(seen.version !== undefined && { version: seen.version }),
    };
    this.#underway.delete(client);
    this.history.push(operation);
    return operation;
  }

  #nowNs(): number {
    return Math.round((systemClock.nowMs() - this.#startMs) * NS_PER_MS);
  }
}

/** The one document that belongs to a key and a value. */
function register(id: string, value: string): Register {
  const repeats = (Number(value.slice(1)) * 31) % FILLING_REPEATS_MAX;
  return { id, value, filling: value.repeat(repeats) };
}

/** Value and version that were written or read. */
async function call(
  what: Wanted,
  wanted: string | null,
  collection: Collection<Register>,
): Promise<Partial<Known>> {
  const { op, key, known } = what;
  const document = register(key, wanted ?? "");
  switch (op) {
    case "put":
      return { version: await collection.put(document) };
    case "cas":
      return { version: await collection.put(document, { ifVersion: known?.version ?? 0 }) };
    case "delete":
      await collection.delete(key);
      return {};
    case "get": {
      const found = await collection.findVersioned(key);
      if (found === undefined) return {};
      const { value } = found.document;
      if (found.document.filling !== register(key, value).filling || found.document.id !== key) {
        throw new Error(`the document ${key} is torn: ${JSON.stringify(found.document)}`);
      }
      return { value, version: found.version };
    }
  }
}

/**
 * A read has no effect, so one without an answer failed. A write failed only if the client says
 * that repeating it is harmless, or that its condition did not hold.
 */
function outcomeOf(op: SeenOperation["op"], error: CStoreError): Outcome {
  const isRefused = error.retry === "safe" || error instanceof VersionConflictError;
  return { outcome: op === "get" || isRefused ? "fail" : "unknown", error: error.code };
}
