// A typed collection, its indexes, and queries that use them.
import { WALDatabase } from "cstore";

interface Book {
  id: string;
  title: string;
  year: number;
  tags: string[];
}

const db = new WALDatabase({ name: "library", root: "./data" });
const books = db.collection<Book>("books");
await books.createIndex("title", { keys: "title", unique: true });
await books.createIndex("tags", { keys: { tags: 1, year: -1 } });

await books.putMany([
  { id: "b1", title: "Emma", year: 1815, tags: ["novel", "england"] },
  { id: "b2", title: "Faust", year: 1808, tags: ["play", "germany"] },
  { id: "b3", title: "Persuasion", year: 1817, tags: ["novel", "england"] },
]);

const novels = await books.find({ tags: "novel" }, { sort: { year: -1 }, limit: 10 });
console.log(novels.map(({ title }) => title).join(", "));
console.log(await books.explain({ tags: "novel", year: { $gte: 1816 } }));
try {
  await books.insert({ id: "b4", title: "Emma", year: 2020, tags: [] });
} catch (error) {
  console.log((error as Error).message);
}
for await (const { title } of books.iterate({ year: { $lt: 1816 } })) console.log("old:", title);
await db.close();
