// A transaction over two collections, and one that is rolled back.
import { WALDatabase } from "cstore";

interface Account {
  id: string;
  balance: number;
}

const db = new WALDatabase({ name: "bank", root: "./data" });
const accounts = db.collection<Account>("accounts");
await accounts.putMany([
  { id: "ada", balance: 100 },
  { id: "grace", balance: 0 },
]);

async function transfer(from: string, to: string, amount: number): Promise<void> {
  await db.transaction(async (tx) => {
    const all = tx.collection<Account>("accounts");
    const payer = await all.findById(from);
    if (payer === undefined || payer.balance < amount) throw new Error(`${from} has too little`);
    await all.update(from, { $inc: { balance: -amount } });
    await all.update(to, { $inc: { balance: amount } });
    await tx.collection("transfers").insert({ from, to, amount });
  });
}

// At once: each sees the others as a whole, or not at all.
await Promise.all([transfer("ada", "grace", 30), transfer("ada", "grace", 20)]);
await transfer("ada", "grace", 1000).catch((error: Error) => console.log("rolled back:", error.message));
console.log(await accounts.find({}, { sort: { id: 1 } }));
console.log(await db.collection("transfers").count(), "transfers");
await db.close();
