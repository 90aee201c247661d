// Two offices, each with a node of its own. Their line is down for a while, and both go on working.
import { ReplicatedWALDatabase } from "cstore";

const nodes = [
  { id: "north", address: "localhost:8080" },
  { id: "south", address: "localhost:8081" },
];
const replication = { mode: "MULTI_MASTER", conflict: { strategy: "field-merge" } } as const;

const open = async (nodeId: string, port: number): Promise<ReplicatedWALDatabase> => {
  const cluster = { nodeId, port, nodes, replication };
  const database = new ReplicatedWALDatabase({ name: "offices", root: "./data", cluster });
  await database.open();
  return database;
};
const north = (): Promise<ReplicatedWALDatabase> => open("north", 8080);
const south = (): Promise<ReplicatedWALDatabase> => open("south", 8081);

interface Order {
  readonly id: string;
  readonly price: number;
  readonly note: string;
}
const orders = (of: ReplicatedWALDatabase) => of.collection<Order>("orders", { ack: "one" });
const stock = (of: ReplicatedWALDatabase) => of.collection<{ id: string; left: number }>("stock");
const tags = (of: ReplicatedWALDatabase) => of.collection<{ id: string; tags: string[] }>("tags");

/** Waits until an office sees what it is to see. */
const until = async (isThere: () => Promise<boolean>): Promise<void> => {
  while (!(await isThere())) await new Promise((resolve) => setTimeout(resolve, 20));
};

// Together: who settles what is said once, for each collection.
let offices = await Promise.all([north(), south()]);
await offices[0].createCollection("stock", { mode: "MULTI_MASTER", conflict: { strategy: "counter" } });
await offices[0].createCollection("tags", { mode: "MULTI_MASTER", conflict: { strategy: "set" } });
await orders(offices[0]).put({ id: "o1", price: 100, note: "new" }, { ack: "all" });
await stock(offices[0]).put({ id: "apples", left: 10 }, { ack: "all" });
await tags(offices[0]).put({ id: "o1", tags: ["fruit"] }, { ack: "all" });
await Promise.all(offices.map((office) => office.close()));

// Each alone, and the other one's node is not there: one has no majority of two, and writes all the same.
const alone = async (office: ReplicatedWALDatabase, name: string, sold: number): Promise<void> => {
  await orders(office).update("o1", { note: `called by ${name}` });
  await stock(office).update("apples", { $inc: { left: -sold } });
  await tags(office).update("o1", { $push: { tags: name } });
  await office.close();
};
await alone(await north(), "north", 3);
const second = await south();
await orders(second).update("o1", { price: 90 });
await alone(second, "south", 2);

// The line is back.
offices = await Promise.all([north(), south()]);
for (const office of offices) {
  await until(async () => (await stock(office).findById("apples"))?.left === 5);
  await until(async () => (await tags(office).findById("o1"))?.tags.length === 3);
  await until(async () => (await office.conflicts("orders")).total === 1);
}
console.log("apples left:", (await stock(offices[1]).findById("apples"))?.left);
console.log("tags:", (await tags(offices[0]).findById("o1"))?.tags.join(", "));
const [there, here] = await Promise.all(offices.map((office) => orders(office).findById("o1")));
console.log("the same order in both:", there?.price, here?.price, there?.note === here?.note);

// Both wrote a note: that is a conflict. It is shown, and the next write ends it.
const { conflicts } = await offices[0].conflicts<Order>("orders");
for (const { id, siblings } of conflicts) {
  console.log(id, siblings.map(({ nodeId, document }) => `${nodeId}: ${document.note}`).join("; "));
}
await orders(offices[0]).update("o1", { note: "called twice" }, { ack: "all" });
console.log("conflicts left:", (await offices[1].conflicts("orders")).total);
await Promise.all(offices.map((office) => office.close()));
