// Transactions over several stores: all or nothing, whatever crashes when.

import { afterEach, describe, expect, test } from "bun:test";
import {
  type ChangeRecord,
  type ITransactionalStorageAdapter,
  MemoryWALManager,
  StorageError,
  TransactionalAdapterFile,
  TransactionalAdapterMemory,
  WALCollection,
  WALDatabase,
  WALTransactionManager,
} from "../../src/mod.ts";
import { type Platform, systemPlatform } from "../../src/platform/platform.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import type { TransactionRecovery } from "../../src/transactions/wal_transaction_manager.ts";
import { freshFolder, rejection, TestCluster, waitFor } from "../node/test_cluster.ts";
import type { SimulatedDisk } from "../storage/fake_disk.ts";
import { createLog, diskOf } from "../storage/log_fixture.ts";

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

function managed(manager: WALTransactionManager): WALTransactionManager {
  open.push(manager);
  return manager;
}

function change(key: string, newValue: unknown): ChangeRecord {
  return { type: "update", collection: "accounts", key, newValue, timestamp: 1 };
}

/** Somebody else's store: it outlives the processes that use it. */
class Ledger {
  readonly committed = new Map<unknown, unknown>();
  readonly prepared = new Map<string, Map<unknown, unknown>>();
}

/** One process's connection to a ledger. */
class LedgerAdapter implements ITransactionalStorageAdapter {
  readonly name = "ledger";
  readonly calls: string[] = [];
  readonly #ledger: Ledger;
  readonly #staged = new Map<string, Map<unknown, unknown>>();
  /** Asked before and after each call; where it never resolves, the process has died. */
  readonly #pass: (place: string) => Promise<void>;

  constructor(ledger: Ledger, pass: (place: string) => Promise<void> = async () => undefined) {
    this.#ledger = ledger;
    this.#pass = pass;
  }

  isTransactional(): boolean {
    return true;
  }

  async writeInTransaction(id: string, { key, newValue }: ChangeRecord): Promise<void> {
    const staged = this.#staged.get(id) ?? new Map<unknown, unknown>();
    this.#staged.set(id, staged.set(key, newValue));
  }

  async prepareCommit(id: string): Promise<boolean> {
    await this.#enter("prepare", id);
    const staged = this.#staged.get(id);
    if (staged !== undefined) this.#ledger.prepared.set(id, staged);
    await this.#pass("prepared");
    return staged !== undefined;
  }

  async finalizeCommit(id: string): Promise<void> {
    await this.#enter("finalize", id);
    const prepared = this.#ledger.prepared.get(id) ?? new Map<unknown, unknown>();
    for (const [key, value] of prepared) this.#ledger.committed.set(key, value);
    this.#ledger.prepared.delete(id);
    await this.#pass("finalized");
  }

  async rollback(id: string): Promise<void> {
    await this.#enter("rollback", id);
    this.#staged.delete(id);
    this.#ledger.prepared.delete(id);
    await this.#pass("rolled back");
  }

  async listPrepared(): Promise<readonly string[]> {
    await this.#pass("list");
    return [...this.#ledger.prepared.keys()];
  }

  async #enter(call: string, id: string): Promise<void> {
    this.calls.push(call);
    await this.#pass(`${call} ${id}`);
  }
}

describe("crash at every point", () => {
  const NEVER = new Promise<never>(() => undefined);

  interface Process {
    readonly manager: WALTransactionManager;
    readonly files: TransactionalAdapterFile;
    close(): Promise<void>;
  }

  /** When a process dies: at the n-th change of its disk, or at the n-th step of its ledger. */
  interface Death {
    readonly diskOperation?: number;
    readonly ledgerStep?: number;
  }

  /** Runs a process to its end or its death; whether it came to its end. */
  async function live(
    disk: SimulatedDisk,
    ledger: Ledger,
    life: { readonly death?: Death; readonly work: (process: Process) => Promise<void> },
  ): Promise<boolean> {
    const { death = {}, work } = life;
    const { promise: killed, resolve } = Promise.withResolvers<void>();
    const died = death.diskOperation === undefined ? killed : disk.haltAfter(death.diskOperation);
    let isDead = false;
    void died.then(() => {
      isDead = true;
    });
    let steps = 0;
    const pass = async (): Promise<void> => {
      steps += 1;
      if (!isDead && steps === death.ledgerStep) {
        isDead = true;
        disk.killProcess();
        resolve();
      }
      if (isDead) await NEVER;
    };
    const run = async (): Promise<boolean> => {
      const process = await start(disk, new LedgerAdapter(ledger, pass));
      await work(process);
      return true;
    };
    // What a dead process's promises come to is of no interest.
    const isWhole = await Promise.race([
      run().catch(async (error) => {
        await new Promise((turn) => setImmediate(turn));
        return isDead ? NEVER : Promise.reject(error);
      }),
      died.then(() => false),
    ]);
    isDead = true;
    return isWhole;
  }

  async function start(disk: SimulatedDisk, adapter: LedgerAdapter): Promise<Process> {
    const { clock, network } = systemPlatform();
    const random = new SeededRandom(disk.operations + 1);
    const platform: Platform = { clock, random, files: disk.files, network };
    const wal = await createLog(disk, "data/log");
    const manager = new WALTransactionManager({ wal, platform, timeoutMs: 60_000 });
    const files = new TransactionalAdapterFile("data/files", { name: "files", platform });
    manager.registerStorageAdapter(files);
    manager.registerStorageAdapter(adapter);
    const close = async (): Promise<void> => {
      await manager.close();
      await files.close();
      await wal.close();
    };
    return { manager, files, close };
  }

  /** Ten units leave the file for the ledger. */
  async function transfer({ manager }: Process, round: number): Promise<void> {
    const id = await manager.beginTransaction();
    await manager.write(id, "files", change("from", 90 - 10 * round));
    await manager.write(id, "ledger", change("to", 10 + 10 * round));
    await manager.commitTransaction(id);
  }

  /** Two transfers, a death, a recovery that dies as well, and one that does not. */
  async function tryDeath(seed: number, death: Death): Promise<boolean> {
    const disk = diskOf(seed);
    const ledger = new Ledger();
    let acknowledged = 0;
    const isOver = await live(disk, ledger, {
      death,
      work: async (process) => {
        await transfer(process, 0);
        acknowledged = 10;
        await transfer(process, 1);
        acknowledged = 20;
      },
    });
    disk.cutPower();
    const recover = async ({ manager }: Process) => void (await manager.performRecovery());
    await live(disk, ledger, { death: { diskOperation: 1 + (seed % 12) }, work: recover });
    disk.cutPower();
    const isDone = await live(disk, ledger, {
      work: async (process) => {
        await recover(process);
        const from = ((await process.files.get("accounts", "from")) ?? 100) as number;
        const to = (ledger.committed.get("to") ?? 0) as number;
        expect(from).toBe(100 - to);
        expect(to).toBeGreaterThanOrEqual(acknowledged);
        expect([...ledger.prepared.keys()]).toEqual([]);
        expect(await process.files.listPrepared()).toEqual([]);
        // It goes on where it stopped.
        await transfer(process, 5);
        expect([await process.files.get("accounts", "from"), ledger.committed.get("to")]).toEqual([
          40, 60,
        ]);
        await process.close();
      },
    });
    expect(isDone).toBe(true);
    return isOver;
  }

  async function everyPoint(deathAt: (point: number) => Death): Promise<number> {
    let points = 0;
    while (!(await tryDeath(points + 1, deathAt(points + 1)))) points += 1;
    return points;
  }

  test("2PC: between any two changes of the coordinator's disk, also while it recovers", async () => {
    expect(await everyPoint((diskOperation) => ({ diskOperation }))).toBeGreaterThan(60);
  });

  test("2PC: before and after every step of a participant", async () => {
    expect(await everyPoint((ledgerStep) => ({ ledgerStep }))).toBeGreaterThan(7);
  });
});

describe("WALTransactionManager", () => {
  function memoryManager(timeoutMs?: number): WALTransactionManager {
    const wal = new MemoryWALManager();
    return managed(
      new WALTransactionManager({ wal, ...(timeoutMs !== undefined && { timeoutMs }) }),
    );
  }

  async function twoWrites(manager: WALTransactionManager, names: readonly string[]) {
    const id = await manager.beginTransaction();
    for (const name of names) await manager.write(id, name, change("a", { n: 1 }));
    return id;
  }

  test("2PC: what is written shows after the commit only, and its log has the records in order", async () => {
    const manager = memoryManager();
    const left = new TransactionalAdapterMemory("left");
    const right = new TransactionalAdapterMemory("right");
    manager.registerStorageAdapter(left);
    manager.registerStorageAdapter(right);
    const heard: unknown[] = [];
    const told: unknown[] = [];
    manager.addChangeListener(({ key }) => heard.push(key));
    manager.addChangeListener(({ newValue }) => told.push(newValue));
    const id = await manager.beginTransaction();
    const value = { n: 1 };
    for (const name of ["left", "right"]) await manager.write(id, name, change("a", value));
    value.n = 2;
    expect([left.get("accounts", "a"), heard]).toEqual([undefined, []]);
    await manager.commitTransaction(id);

    expect([left.get("accounts", "a"), right.get("accounts", "a")]).toEqual([{ n: 1 }, { n: 1 }]);
    expect(heard).toEqual(["a", "a"]);
    expect(told).toEqual([{ n: 1 }, { n: 1 }]);
    const entries = await manager.getWALEntries();
    expect(entries.map(({ type, operation }) => `${type} ${operation}`)).toEqual([
      "BEGIN BEGIN",
      "DATA UPDATE",
      "DATA UPDATE",
      "PREPARE NOOP",
      "PREPARE NOOP",
      "COMMIT COMMIT",
      "COMMIT NOOP",
    ]);
    expect(manager.activeTransactionCount).toBe(0);
  });

  test("2PC: a rollback, and a participant that says no or throws, leave nothing", async () => {
    const manager = memoryManager();
    const memory = new TransactionalAdapterMemory("memory");
    const ledger = new Ledger();
    let answer: () => Promise<void> = async () => undefined;
    const adapter = new LedgerAdapter(ledger, () => answer());
    manager.registerStorageAdapter(memory);
    manager.registerStorageAdapter(adapter);
    await manager.rollbackTransaction(await twoWrites(manager, ["memory", "ledger"]));

    const id = await twoWrites(manager, ["memory", "ledger"]);
    answer = async () => {
      answer = async () => undefined;
      throw new TypeError("no");
    };
    const refused = await rejection(manager.commitTransaction(id));
    expect([refused.code, refused.retry]).toEqual(["CONFLICT", "safe"]);
    expect(refused.message).toContain("failed to prepare");
    await waitFor("it", () => manager.activeTransactionCount === 0);
    expect(memory.get("accounts", "a")).toBeUndefined();
    expect([ledger.committed.size, ledger.prepared.size]).toEqual([0, 0]);
    expect((await rejection(manager.commitTransaction(id))).message).toBe(
      "No active transaction to commit",
    );
    expect((await rejection(manager.rollbackTransaction(id))).message).toBe(
      "No active transaction to abort",
    );
  });

  test("2PC: of two transactions with one document the second to prepare is refused", async () => {
    const manager = memoryManager();
    manager.registerStorageAdapter(new TransactionalAdapterMemory("memory"));
    const ledger = new Ledger();
    const gate = Promise.withResolvers<void>();
    manager.registerStorageAdapter(
      new LedgerAdapter(ledger, (place) =>
        place.startsWith("finalize ") ? gate.promise : Promise.resolve(),
      ),
    );
    const first = await twoWrites(manager, ["memory", "ledger"]);
    const second = await twoWrites(manager, ["memory"]);
    const slow = await manager.beginTransaction();
    const committing = manager.commitTransaction(first);
    await waitFor("it", () => ledger.prepared.size === 1);
    // The first one's part is finalized in memory already, or still locked there: never both.
    const outcome = await manager.commitTransaction(second).then(
      () => "committed",
      ({ code }) => code,
    );
    gate.resolve();
    await committing;
    expect(["committed", "CONFLICT"]).toContain(outcome);
    await manager.rollbackTransaction(slow);
  });

  test("2PC: a participant that does not answer in time is rolled back when it does", async () => {
    const manager = memoryManager(60);
    const ledger = new Ledger();
    const gate = Promise.withResolvers<void>();
    const adapter = new LedgerAdapter(ledger, (place) =>
      place === "prepared" ? gate.promise : Promise.resolve(),
    );
    manager.registerStorageAdapter(adapter);
    const id = await twoWrites(manager, ["ledger"]);
    expect((await rejection(manager.commitTransaction(id))).code).toBe("TRANSACTION_TIMEOUT");
    expect(adapter.calls).toEqual(["prepare"]);
    gate.resolve();
    await waitFor("it", () => manager.activeTransactionCount === 0);
    expect(adapter.calls).toEqual(["prepare", "rollback"]);
    expect([ledger.committed.size, ledger.prepared.size]).toEqual([0, 0]);
  });

  test("2PC: a transaction that nobody ends is rolled back when its time is over", async () => {
    const manager = memoryManager(30);
    const memory = new TransactionalAdapterMemory("memory");
    manager.registerStorageAdapter(memory);
    const id = await twoWrites(manager, ["memory"]);
    await waitFor("it", () => manager.activeTransactionCount === 0);
    expect((await rejection(manager.commitTransaction(id))).code).toBe("TRANSACTION_TIMEOUT");
    expect(memory.get("accounts", "a")).toBeUndefined();
  });

  test("2PC: after the decision a participant that fails is asked until it does not", async () => {
    const manager = memoryManager();
    const ledger = new Ledger();
    let failures = 3;
    const adapter = new LedgerAdapter(ledger, async (place) => {
      if (!place.startsWith("finalize ") || failures === 0) return;
      failures -= 1;
      throw new TypeError("not now");
    });
    manager.registerStorageAdapter(adapter);
    await manager.commitTransaction(await twoWrites(manager, ["ledger"]));
    expect(adapter.calls).toEqual(["prepare", "finalize", "finalize", "finalize", "finalize"]);
    expect(ledger.committed.get("a")).toEqual({ n: 1 });
  });

  test("2PC: what a log cannot keep is not committed", async () => {
    const wal = new MemoryWALManager();
    const manager = managed(new WALTransactionManager({ wal }));
    const ledger = new Ledger();
    const adapter = new LedgerAdapter(ledger, async (place) => {
      if (place === "prepared") await wal.close();
    });
    manager.registerStorageAdapter(adapter);
    const id = await twoWrites(manager, ["ledger"]);
    const error = await rejection(manager.commitTransaction(id));
    expect(["CONFLICT", "UNKNOWN_OUTCOME"]).toContain(error.code);
    expect(ledger.committed.size).toBe(0);
  });

  // A rejection that nobody hears would end the process.
  test("2PC: stores and listeners that throw at once stand in nobody's way", async () => {
    const manager = memoryManager();
    const memory = new TransactionalAdapterMemory("memory");
    let failures = 2;
    const rude: ITransactionalStorageAdapter = {
      name: "rude",
      isTransactional: () => true,
      writeInTransaction: async () => undefined,
      prepareCommit: async () => true,
      finalizeCommit: () => {
        failures -= 1;
        if (failures >= 0) throw new TypeError("at once");
        return Promise.resolve();
      },
      rollback: () => {
        throw new TypeError("at once");
      },
      listPrepared: () => {
        throw new TypeError("at once");
      },
    };
    manager.registerStorageAdapter(rude);
    manager.registerStorageAdapter(memory);
    const heard: unknown[] = [];
    manager.addChangeListener(() => {
      throw new TypeError("at once");
    });
    manager.addChangeListener(({ key }) => heard.push(key));
    await manager.commitTransaction(await twoWrites(manager, ["rude", "memory"]));
    expect([failures, memory.get("accounts", "a"), heard]).toEqual([-1, { n: 1 }, ["a", "a"]]);
    await manager.rollbackTransaction(await twoWrites(manager, ["rude", "memory"]));
    expect(await manager.performRecovery()).toMatchObject({ inDoubt: [], unknown: [] });
  });

  test("2PC: close rolls back what is open, and waits for no store", async () => {
    const manager = new WALTransactionManager({ wal: new MemoryWALManager() });
    const memory = new TransactionalAdapterMemory("memory");
    const ledger = new Ledger();
    const NEVER = new Promise<void>(() => undefined);
    manager.registerStorageAdapter(memory);
    manager.registerStorageAdapter(
      new LedgerAdapter(ledger, (place) => (place === "prepared" ? NEVER : Promise.resolve())),
    );
    await twoWrites(manager, ["memory"]);
    const committing = rejection(
      manager.commitTransaction(await twoWrites(manager, ["memory", "ledger"])),
    );
    await waitFor("a store that is asked", () => ledger.prepared.size === 1);
    await manager.close();
    expect((await committing).code).toBe("UNKNOWN_OUTCOME");
    expect(manager.activeTransactionCount).toBe(0);
  });

  test("2PC: a time that no timer can wait for, and a place that leads elsewhere, are refused", async () => {
    const manager = memoryManager();
    for (const timeoutMs of [-1, Number.NaN, 2 ** 31]) {
      expect((await rejection(manager.beginTransaction({ timeoutMs }))).code).toBe("VALIDATION");
    }
    for (const name of ["../evil", "..", "a/b"]) {
      expect((await rejection(new WALCollection({ name }).initialize())).code).toBe("CONFIG");
    }
  });

  // The prepared file cannot be removed once: until it is, nobody may change its documents.
  test("2PC: what is finalized again after a crash is not put over something newer", async () => {
    const folder = freshFolder();
    const system = systemPlatform();
    let isFailing = false;
    const remove = (path: string): void => {
      if (isFailing && path.endsWith("prepared-t1")) throw new StorageError("EIO");
      system.files.remove(path);
    };
    const platform: Platform = { ...system, files: { ...system.files, remove } };
    const files = new TransactionalAdapterFile(folder.path, { name: "files", platform });
    open.push(files);
    const write = async (id: string, value: number) => {
      await files.writeInTransaction(id, change("a", value));
      return files.prepareCommit(id);
    };
    expect(await write("t1", 1)).toBe(true);
    isFailing = true;
    expect((await rejection(files.finalizeCommit("t1"))).code).toBe("STORAGE");
    expect(await write("t2", 2)).toBe(false);
    isFailing = false;
    await files.finalizeCommit("t1");
    expect(await write("t3", 3)).toBe(true);
    await files.finalizeCommit("t3");
    expect([await files.get("accounts", "a"), await files.listPrepared()]).toEqual([3, []]);
  });

  test("2PC: damage in a store's file is an error, not an empty store", async () => {
    const folder = freshFolder();
    const manager = managed(new WALTransactionManager({ wal: new MemoryWALManager() }));
    const first = new TransactionalAdapterFile(folder.path, { name: "files" });
    manager.registerStorageAdapter(first);
    await manager.commitTransaction(await twoWrites(manager, ["files"]));
    await first.close();
    const path = `${folder.path}/state`;
    const bytes = new Uint8Array(await Bun.file(path).arrayBuffer());
    bytes[12]! ^= 1;
    await Bun.write(path, bytes);
    const second = new TransactionalAdapterFile(folder.path, { name: "files" });
    open.push(second);
    expect((await rejection(second.open())).code).toBe("CORRUPTION");
  });
});

describe("on a database", () => {
  test("2PC: records of an embedded database survive it, and its log has them", async () => {
    const folder = freshFolder();
    const ledger = new Ledger();
    const NEVER = new Promise<void>(() => undefined);
    const first = new WALDatabase({ name: "records", root: folder.path });
    const dying = new WALTransactionManager({ database: first });
    dying.registerStorageAdapter(
      new LedgerAdapter(ledger, (place) =>
        place.startsWith("finalize ") ? NEVER : Promise.resolve(),
      ),
    );
    const id = await dying.beginTransaction();
    await dying.write(id, "ledger", change("a", 1));
    void dying.commitTransaction(id);
    await waitFor("it", async () => {
      const records = await first.collection<{ decision: string }>("cstore.transactions").find();
      return records[0]?.decision === "COMMIT";
    });
    await dying.close();
    await first.close();

    const second = new WALDatabase({ name: "records", root: folder.path });
    open.push(second);
    const manager = new WALTransactionManager({ database: second, recoveryIntervalMs: 20 });
    open.unshift(manager);
    manager.registerStorageAdapter(new LedgerAdapter(ledger));
    await manager.performRecovery();
    // Its coordinator might still live until the transaction's time is over: but it had decided.
    expect(ledger.committed.get("a")).toBe(1);
  });

  test("2PC: the records take no part in a global transaction of the same database", async () => {
    const folder = freshFolder();
    const database = new WALDatabase({ name: "shared", root: folder.path });
    open.push(database);
    const manager = new WALTransactionManager({ database, recoveryIntervalMs: 5 });
    open.unshift(manager);
    const memory = new TransactionalAdapterMemory("memory");
    manager.registerStorageAdapter(memory);
    await database.beginGlobalTransaction();
    await database.collection<{ id: string }>("own").insert({ id: "a" });
    const id = await manager.beginTransaction();
    await manager.write(id, "memory", change("a", 1));
    await manager.commitTransaction(id);
    await manager.performRecovery();
    await database.commitGlobalTransaction();
    expect([memory.get("accounts", "a"), await database.collection("own").count()]).toEqual([1, 1]);
  });

  // T39: what the coordinator has decided is an entry of the cluster's log.
  test("2PC: on a cluster another node's manager settles what a dead one has left", async () => {
    const cluster = await TestCluster.start(3);
    open.push({ close: () => cluster.stop() });
    const ledger = new Ledger();
    const NEVER = new Promise<void>(() => undefined);
    const dying = new WALTransactionManager({
      database: await cluster.connect(),
      recoveryIntervalMs: 3_600_000,
      timeoutMs: 700,
    });
    let place = "finalize";
    const connection = new LedgerAdapter(ledger, (at) =>
      at.startsWith(`${place} `) ? NEVER : Promise.resolve(),
    );
    dying.registerStorageAdapter(connection);
    const committed = await dying.beginTransaction();
    await dying.write(committed, "ledger", change("a", 1));
    await dying.commitTransaction(committed);
    // Decided, and its time is over: the caller was told although the ledger has not heard of it.
    expect(ledger.committed.size).toBe(0);
    place = "nothing";
    const undecided = await dying.beginTransaction();
    await dying.write(undecided, "ledger", change("b", 1));
    place = "prepare";
    void dying.commitTransaction(undecided).catch(() => undefined);
    await waitFor("it", () => connection.calls.filter((call) => call === "prepare").length === 2);
    ledger.prepared.set(undecided, new Map([["b", 1]]));

    const leader = await cluster.leader();
    await cluster.kill(leader);
    const survivor = managed(
      new WALTransactionManager({ database: await cluster.connect(), recoveryIntervalMs: 50 }),
    );
    survivor.registerStorageAdapter(new LedgerAdapter(ledger));
    const all: TransactionRecovery[] = [];
    await waitFor("it", async () => {
      all.push(await survivor.performRecovery());
      return ledger.prepared.size === 0;
    });
    expect([...ledger.committed]).toEqual([["a", 1]]);
    await dying.close();
  }, 300_000);
});
