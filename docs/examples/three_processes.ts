// Three processes, each with a node of one cluster. The leader's process is killed; writing goes on.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { connect, ReplicatedWALDatabase } from "cstore";

const ports = [8080, 8081, 8082];
const nodes = ports.map((port, i) => ({ id: `node-${i + 1}`, address: `localhost:${port}` }));
const own = nodes.findIndex(({ id }) => id === process.argv[2]);

if (own === -1) await main();
else await serve(own);

/** A child: its node, until it is ended. */
async function serve(at: number): Promise<void> {
  const replication = { mode: "MASTER_SLAVE", syncMode: "SYNC" } as const;
  const cluster = { nodeId: `node-${at + 1}`, port: ports[at] ?? 0, nodes, replication };
  const database = new ReplicatedWALDatabase({ name: "three-db", root: "./data", cluster });
  await database.open();
  process.send?.("open");
  process.once("disconnect", () => void database.close().then(() => process.exit()));
}

async function main(): Promise<void> {
  const children = nodes.map(({ id }) =>
    spawn(process.execPath, [fileURLToPath(import.meta.url), id], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    }),
  );
  await Promise.all(children.map((child) => once(child, "message")));
  await using client = await connect(`cstore://${nodes.map(({ address }) => address).join(",")}`);
  const counters = client.collection<{ id: string; n: number }>("counters");
  await counters.put({ id: "a", n: 0 });
  for (let n = 1; n <= 300; n += 1) {
    if (n === 150) {
      const { leader } = await client.status();
      children[nodes.findIndex(({ id }) => id === leader)]?.kill("SIGKILL");
      console.log("killed", leader);
    }
    await counters.update("a", { $inc: { n: 1 } });
  }
  console.log("counted to", (await counters.findById("a"))?.n);
  const { leader } = await client.status();
  console.log(leader === "" ? "nobody leads" : "another node leads");
  for (const child of children) if (child.connected) child.disconnect();
  await Promise.all(children.map((child) => child.exitCode ?? child.signalCode ?? once(child, "exit")));
}
