/**
 * Transactions under faults: lists that transactions append to and read, from which an order of all
 * transactions is inferred (the idea of Elle: Kingsbury, Alvaro 2020), and accounts whose sum never
 * changes.
 *
 * @module
 */

import type { Transaction } from "../../src/api/transaction.ts";
import { CStoreError } from "../../src/base/errors.ts";
import { sleep } from "../../src/platform/clock.ts";
import { Violation } from "./checkers/cluster.ts";
import type { Simulation } from "./simulator.ts";

const KEYS = 4;
const ACCOUNTS = 5;
/** What all accounts hold together. */
export const TOTAL = ACCOUNTS * 100;

interface List {
  id: string;
  values: string[];
  size: number;
}

interface Account {
  id: string;
  balance: number;
}

/** One transaction as its client saw it. */
export interface ObservedTransaction {
  readonly name: string;
  readonly startMs: number;
  endMs: number;
  /** Whether it is certain that it took effect. */
  outcome: "ok" | "fail" | "unknown";
  /** Of the last attempt: lists as they were read, and the value that was appended to each. */
  reads: { readonly key: string; readonly values: readonly string[] }[];
  appends: { readonly key: string; readonly value: string }[];
}

/** Clients with transactions. */
export class TransactionLoad {
  readonly observed: ObservedTransaction[] = [];
  readonly sums: number[] = [];
  /** The lists as a change stream tells of them; undefined when a part of it was not kept. */
  watched: Map<string, readonly string[]> | undefined = new Map();
  /** Where the change stream is. */
  position = 0;
  readonly #simulation: Simulation;
  #isStopped = false;
  #running = 0;
  #count = 0;

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
  }

  get isIdle(): boolean {
    return this.#running === 0;
  }

  /** Writes what the clients work on, and begins. */
  async start(clients: number): Promise<void> {
    const simulation = this.#simulation;
    const database = await simulation.connect();
    const accounts = database.collection<Account>("accounts");
    const all = Array.from({ length: ACCOUNTS }, (_, i) => ({ id: `a${i}`, balance: 100 }));
    await simulation.settle(accounts.insertMany(all));
    await simulation.settle(database.collection("lists").createIndex("size", { keys: "size" }));
    for (let client = 0; client < clients; client += 1) void this.#client(client);
    void this.#watch();
  }

  /** Makes the lists again from the changes to them. */
  async #watch(): Promise<void> {
    const database = await this.#simulation.connect(2000);
    let since: number | undefined = 0;
    let last = 0;
    while (true) {
      try {
        const onPosition = (at: number): void => {
          this.position = at;
        };
        for await (const change of database.watch({ since, collection: "lists", onPosition })) {
          if (change.sequence <= last)
            throw new Violation("watch", `${change.sequence} came again`);
          last = change.sequence;
          since = last;
          const { id, values } = change.document as List;
          this.watched?.set(id, values);
        }
      } catch (error) {
        if (!(error instanceof CStoreError)) throw error;
        if (error.code === "CLOSED") return;
        if (error.code !== "COMPACTED") continue;
        this.watched = undefined;
        return;
      }
    }
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #client(client: number): Promise<void> {
    this.#running += 1;
    const { random } = this.#simulation.world;
    const database = await this.#simulation.connect(2000);
    const { clock } = database.client.platform;
    const options = { timeoutMs: 3000 };
    while (!this.#isStopped) {
      const roll = random.below(3);
      try {
        if (roll === 0) await database.transaction((tx) => this.#move(tx), options);
        else if (roll === 1) this.sums.push(await database.transaction((tx) => sumOf(tx), options));
        else await this.#append(`c${client}`, (run) => database.transaction(run, options));
      } catch (error) {
        if (!(error instanceof CStoreError)) throw error;
      }
      await sleep(clock, random.below(60));
    }
    await database.close();
    this.#running -= 1;
  }

  async #move(tx: Transaction): Promise<void> {
    const { random } = this.#simulation.world;
    const accounts = tx.collection<Account>("accounts");
    const from = random.below(ACCOUNTS);
    const to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
    const amount = random.below(50);
    await accounts.update(`a${from}`, { $inc: { balance: -amount } });
    await accounts.update(`a${to}`, { $inc: { balance: amount } });
  }

  async #append(
    client: string,
    transact: (run: (tx: Transaction) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const { random } = this.#simulation.world;
    this.#count += 1;
    const one: ObservedTransaction = {
      name: `${client}-${this.#count}`,
      startMs: this.#simulation.world.nowMs,
      endMs: Number.POSITIVE_INFINITY,
      outcome: "unknown",
      reads: [],
      appends: [],
    };
    this.observed.push(one);
    const keys = [...new Set([random.below(KEYS), random.below(KEYS)])].map((key) => `k${key}`);
    const writes = keys.map(() => random.chance(0.6));
    try {
      await transact(async (tx) => {
        one.reads = [];
        one.appends = [];
        const lists = tx.collection<List>("lists");
        for (const [at, key] of keys.entries()) {
          const found = await lists.findById(key);
          const values = found?.values ?? [];
          one.reads.push({ key, values });
          if (writes[at] !== true) continue;
          const value = `${one.name}`;
          one.appends.push({ key, value });
          const size = values.length + 1;
          await lists.save({ id: key, values: [...values, value], size });
        }
      });
      one.outcome = "ok";
      one.endMs = this.#simulation.world.nowMs;
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      if (error.retry !== "unknown-outcome") one.outcome = "fail";
    }
  }
}

async function sumOf(tx: Transaction): Promise<number> {
  const accounts = await tx.collection<Account>("accounts").find();
  await tx.collection("lists").findById("k0");
  return accounts.reduce((sum, { balance }) => sum + balance, 0);
}

/**
 * Why no order of the transactions explains what they saw; undefined when there is one. `final`:
 * each list as it is at the end.
 */
export function findCycle(
  observed: readonly ObservedTransaction[],
  final: ReadonlyMap<string, readonly string[]>,
): string | undefined {
  const writer = new Map<string, ObservedTransaction>();
  const isThere = (key: string, value: string): boolean => final.get(key)?.includes(value) === true;
  for (const one of observed) {
    for (const { key, value } of one.appends) {
      writer.set(`${key} ${value}`, one);
      if (one.outcome === "ok" && !isThere(key, value)) return `${value} is lost from ${key}`;
      if (one.outcome === "fail" && isThere(key, value)) return `${value} failed and is in ${key}`;
    }
    const there = one.appends.filter(({ key, value }) => isThere(key, value)).length;
    if (there > 0 && there < one.appends.length) return `${one.name} is half there`;
  }
  for (const [key, values] of final) {
    if (new Set(values).size < values.length) return `${key} has a value twice`;
  }
  const happened = observed.filter(({ outcome, appends }) => {
    return outcome === "ok" || appends.some(({ key, value }) => isThere(key, value));
  });
  const edges = new Map<ObservedTransaction, Set<ObservedTransaction>>();
  const add = (a: ObservedTransaction | undefined, b: ObservedTransaction | undefined): void => {
    if (a === undefined || b === undefined || a === b) return;
    const set = edges.get(a) ?? new Set();
    edges.set(a, set.add(b));
  };
  for (const [key, values] of final) {
    for (let i = 1; i < values.length; i += 1) {
      add(writer.get(`${key} ${values[i - 1]}`), writer.get(`${key} ${values[i]}`));
    }
  }
  for (const one of happened) {
    for (const { key, values } of one.reads) {
      const all = final.get(key) ?? [];
      if (values.some((value, at) => all[at] !== value)) return `${one.name} read what never was`;
      add(writer.get(`${key} ${values.at(-1)}`), one);
      add(one, writer.get(`${key} ${all[values.length]}`));
    }
    for (const other of happened) if (one.endMs < other.startMs) add(one, other);
  }
  return cycleIn(happened, edges);
}

function cycleIn(
  all: readonly ObservedTransaction[],
  edges: ReadonlyMap<ObservedTransaction, ReadonlySet<ObservedTransaction>>,
): string | undefined {
  const into = new Map(all.map((one) => [one, 0]));
  for (const set of edges.values()) {
    for (const one of set) into.set(one, (into.get(one) ?? 0) + 1);
  }
  const free = all.filter((one) => into.get(one) === 0);
  let done = 0;
  for (let one = free.pop(); one !== undefined; one = free.pop()) {
    done += 1;
    for (const next of edges.get(one) ?? []) {
      const left = (into.get(next) ?? 0) - 1;
      into.set(next, left);
      if (left === 0) free.push(next);
    }
  }
  if (done === all.length) return undefined;
  const names = all.filter((one) => (into.get(one) ?? 0) > 0).map(({ name }) => name);
  return `no order explains ${names.join(", ")}`;
}
