// Three nodes in one process, as they would run in three: the same code with another nodeId.
import { ReplicatedWALDatabase } from "cstore";

const nodes = [
  { id: "node-1", address: "localhost:8080" },
  { id: "node-2", address: "localhost:8081" },
  { id: "node-3", address: "localhost:8082" },
];

const open = (nodeId: string, port: number): ReplicatedWALDatabase =>
  new ReplicatedWALDatabase({
    name: "cluster-db",
    root: "./data",
    cluster: {
      nodeId,
      port,
      nodes,
      replication: { mode: "MASTER_SLAVE", syncMode: "SYNC", asyncTimeout: 5000 },
    },
  });

const [first, second, third] = [open("node-1", 8080), open("node-2", 8081), open("node-3", 8082)];
await Promise.all([first.open(), second.open(), third.open()]);
console.log("leader is known:", (await first.waitForLeader()).startsWith("node-"));

// A write is answered when two of the three have it on disk.
const things = first.collection<{ id: number; text: string }>("things");
const startMs = performance.now();
await Promise.all(Array.from({ length: 5000 }, (_, id) => things.put({ id, text: "x".repeat(80) })));
const seconds = (performance.now() - startMs) / 1000;
console.log(`5000 writes, ${Math.round(5000 / seconds)} a second`);

// Every node answers for the cluster.
console.log(await third.collection("things").count(), "documents seen through node-3");
const { members } = await second.getClusterStatus();
console.log(members.map(({ id, state }) => `${id} ${state}`).join(", "));
await Promise.all([first.close(), second.close(), third.close()]);
