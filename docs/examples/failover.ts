// The leader dies while a client writes and a change stream is read; neither needs to do anything.
import { connect, ReplicatedWALDatabase } from "cstore";

const ports = [8080, 8081, 8082];
const nodes = ports.map((port, i) => ({ id: `node-${i + 1}`, address: `localhost:${port}` }));
const replication = { mode: "MASTER_SLAVE", syncMode: "SYNC" } as const;
const databases = ports.map((port, i) => {
  const cluster = { nodeId: `node-${i + 1}`, port, nodes, replication };
  return new ReplicatedWALDatabase({ name: "failover-db", root: "./data", cluster });
});
await Promise.all(databases.map((database) => database.open()));
await databases[0]?.waitForLeader();

const client = await connect(`cstore://${nodes.map(({ address }) => address).join(",")}`);
const events = client.collection<{ id: number }>("events");

let isWatching = false;
const seen: number[] = [];
const watching = (async () => {
  const onPosition = (): void => {
    isWatching = true;
  };
  for await (const { id } of client.watch({ collection: "events", onPosition })) {
    seen.push(Number(id));
    if (seen.length === 200) break;
  }
})();
while (!isWatching) await new Promise((resolve) => setTimeout(resolve, 5));

for (let id = 0; id < 200; id += 1) {
  if (id === 100) {
    const leader = databases.find((database) => database.isLeader());
    await leader?.close();
    console.log("the leader is gone");
  }
  await events.put({ id });
}
await watching;
console.log(seen.every((id, at) => id === at) ? "all 200 changes, in order" : "something is missing");
console.log(await events.count(), "documents");
await client.close();
await Promise.all(databases.map((database) => database.close()));
