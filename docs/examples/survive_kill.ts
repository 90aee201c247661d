// A child process writes until it is killed; what it was told is written is there afterwards.
import { spawn } from "node:child_process";
import { WALDatabase } from "cstore";

const config = { name: "survivor", root: "./data" };

if (process.argv[2] === "write") {
  const log = new WALDatabase(config).collection<{ id: number }>("log");
  for (let id = 0; ; id += 1) {
    await log.put({ id });
    process.stdout.write(`${id}\n`);
  }
}

const child = spawn(process.execPath, [process.argv[1] ?? "", "write"], { stdio: "pipe" });
let told = -1;
child.stdout.on("data", (chunk: Buffer) => {
  const whole = chunk.toString().split("\n").slice(0, -1);
  told = Math.max(told, ...whole.map(Number));
  if (told > 500) child.kill("SIGKILL");
});
await new Promise((resolve) => child.on("exit", resolve));

const db = new WALDatabase(config);
const kept = await db.collection("log").count();
console.log(kept > told ? "nothing is lost" : `lost ${told + 1 - kept}`);
await db.close();
