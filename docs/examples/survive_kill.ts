// A child process writes until it is killed; what it was told is written is there afterwards.
import { spawn } from "node:child_process";
import { WALCollection } from "cstore";

const config = { name: "log", root: "./data" };

if (process.argv[2] === "write") {
  const log = new WALCollection<{ id: number }>(config);
  for (let id = 0; ; id += 1) {
    await log.insert({ id });
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

const log = new WALCollection<{ id: number }>(config);
const kept = await log.count();
console.log(kept > told ? "nothing is lost" : `lost ${told + 1 - kept}`);

// A transaction that is rolled back leaves it as it was.
await log.beginTransaction();
await log.deleteMany({});
await log.rollbackTransaction();
console.log((await log.count()) === kept ? "and nothing was removed" : "removed");
await log.close();
