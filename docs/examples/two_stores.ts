// One transaction over two stores: files that cstore keeps, and a store of our own.
import {
  type ChangeRecord,
  type ITransactionalStorageAdapter,
  TransactionalAdapterFile,
  WALTransactionManager,
} from "cstore";

/** Seats of a theatre. A real one would keep `prepared` on disk, too, and list it. */
class Seats implements ITransactionalStorageAdapter {
  readonly name = "seats";
  readonly taken = new Map<unknown, unknown>();
  /** Seats that a transaction was promised: nobody else is, until it has ended. */
  readonly #promised = new Map<unknown, string>();
  readonly #prepared = new Map<string, ChangeRecord[]>();

  isTransactional(): boolean {
    return true;
  }
  async writeInTransaction(id: string, change: ChangeRecord): Promise<void> {
    this.#prepared.set(id, [...(this.#prepared.get(id) ?? []), change]);
  }
  async prepareCommit(id: string): Promise<boolean> {
    const keys = (this.#prepared.get(id) ?? []).map(({ key }) => key);
    const isFree = (key: unknown) => !this.taken.has(key) && (this.#promised.get(key) ?? id) === id;
    if (!keys.every(isFree)) return false;
    for (const key of keys) this.#promised.set(key, id);
    return true;
  }
  async finalizeCommit(id: string): Promise<void> {
    for (const { key, newValue } of this.#prepared.get(id) ?? []) this.taken.set(key, newValue);
    await this.rollback(id); // Nothing is promised any more.
  }
  async rollback(id: string): Promise<void> {
    for (const [key, by] of this.#promised) if (by === id) this.#promised.delete(key);
    this.#prepared.delete(id);
  }
}

const seats = new Seats();
const invoices = new TransactionalAdapterFile("./data/invoices", { name: "invoices" });
const manager = new WALTransactionManager({ walPath: "./data/transactions" });
manager.registerStorageAdapter(seats);
manager.registerStorageAdapter(invoices);

async function book(seat: string, guest: string): Promise<void> {
  const id = await manager.beginTransaction({ timeoutMs: 5000 });
  const timestamp = Date.now();
  await manager.write(id, "seats", {
    type: "insert", collection: "seats", key: seat, newValue: guest, timestamp,
  });
  await manager.write(id, "invoices", {
    type: "insert", collection: "invoices", key: guest, newValue: { seat, price: 20 }, timestamp,
  });
  await manager.commitTransaction(id);
}

const bookings = await Promise.allSettled([book("A1", "ada"), book("A1", "grace")]);
for (const { reason } of bookings.filter((booking) => booking.status === "rejected")) {
  console.log("refused:", reason.message);
}
console.log("A1 belongs to", seats.taken.get("A1"));
console.log("ada pays", await invoices.get("invoices", "ada"));
console.log("grace pays", (await invoices.get("invoices", "grace")) ?? "nothing");
await manager.close();
await invoices.close();
