// A database in this process: no server, one folder.
import { WALDatabase } from "cstore";

interface User {
  id: string;
  name: string;
  visits: number;
}

const db = new WALDatabase({ name: "single-node-db", root: "./data" });
const users = db.collection<User>("users");

await users.save({ id: "ada", name: "Ada", visits: 1 });
await users.update("ada", { $inc: { visits: 1 } });
console.log(await users.findById("ada"));

// The version of a document lets a write depend on what was read.
const found = await users.findVersioned("ada");
await users.put({ id: "ada", name: "Ada L.", visits: 0 }, { ifVersion: found?.version ?? 0 });
try {
  await users.put({ id: "ada", name: "late", visits: 0 }, { ifVersion: found?.version ?? 0 });
} catch (error) {
  console.log("refused:", (error as { code: string }).code);
}
await db.close();
