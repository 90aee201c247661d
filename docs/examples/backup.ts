// A hot backup of an embedded database, and another database that begins with it.
import { rmSync } from "node:fs";
import { WALDatabase } from "cstore";

// What an earlier run has left.
for (const name of ["orders.backup", "shop-db", "restored-db"]) {
  rmSync(`./data/${name}`, { recursive: true, force: true });
}

await using shop = new WALDatabase({ name: "shop-db", root: "./data" });
const orders = shop.collection<{ id: number; item: string }>("orders");
await orders.createIndex("item", { keys: "item" });
await orders.insertMany(Array.from({ length: 1000 }, (_, id) => ({ id, item: `book ${id % 10}` })));

// Writes go on meanwhile; the file shows one moment, and was read back before it got its name.
const [report] = await Promise.all([shop.backup("./data/orders.backup"), orders.put({ id: -1, item: "" })]);
console.log(report.documents >= 1000 ? "backed up" : "too few", "at entry", report.index);

await orders.clear();
console.log("by mistake everything is gone:", await orders.count());

await WALDatabase.restore({ name: "restored-db", root: "./data" }, "./data/orders.backup");
await using restored = new WALDatabase({ name: "restored-db", root: "./data" });
const back = restored.collection<{ id: number; item: string }>("orders");
console.log("found again:", (await back.findBy("item", "book 7")).length);
await back.insert({ id: 2000, item: "book 7" });
console.log("and it goes on:", (await back.findBy("item", "book 7")).length);
