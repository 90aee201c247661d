/**
 * cstore embedded, beside bun:sqlite, lokijs and nedb, in one process and one run: documents of 128
 * bytes. Ratios hold for this machine and this hour.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { latencyMs, machine, newHistogram } from "../../cli/measure/report.ts";
import { type Collection, WALDatabase } from "../../src/mod.ts";

interface Row {
  readonly system: string;
  readonly work: string;
  readonly concurrency: number;
  readonly opsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface Document {
  id: string;
  n: number;
  group: number;
  pad: string;
}

/** One call of a work, and how many operations it is. */
interface Work {
  readonly system: string;
  readonly work: string;
  readonly concurrency: number;
  readonly operations: number;
  readonly run: (i: number) => unknown;
}

const USAGE = `Usage: bun bench/versus/embedded_versus.ts [--documents 1000000] [--duration 2]
                                    [--rounds 3]
                                    [--only cstore,sqlite,lokijs,nedb] [--json]
`;

const PAD = "x".repeat(80);

function documentOf(i: number): Document {
  return { id: `d${i}`, n: i, group: (i * 7919) % 100_000, pad: PAD };
}

/** Gives documents with the numbers from `first` on. */
function numbered(first: number): () => Document {
  let next = first - 1;
  return () => {
    next += 1;
    return documentOf(next);
  };
}

/** Small steps of one known generator, so that every system gets the same requests. */
function pick(i: number, below: number): number {
  return (Math.imul(i ^ (i >>> 15), 0x2c1b3c6d) >>> 0) % below;
}

async function measureOnce(work: Work, durationMs: number): Promise<Row> {
  const { system, concurrency, operations, run } = work;
  const histogram = newHistogram();
  const endMs = performance.now() + durationMs;
  const startMs = performance.now();
  let calls = 0;
  const lane = async (): Promise<void> => {
    for (let nowMs = performance.now(); nowMs < endMs; ) {
      calls += 1;
      const result = run(calls);
      if (typeof (result as PromiseLike<unknown> | undefined)?.then === "function") await result;
      const doneMs = performance.now();
      histogram.recordValue(Math.max(1, Math.round((doneMs - nowMs) * 1000)));
      nowMs = doneMs;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, lane));
  const seconds = (performance.now() - startMs) / 1000;
  const { p50, p99 } = latencyMs(histogram);
  const opsPerSecond = Math.round((calls * operations) / seconds);
  return { system, work: work.work, concurrency, opsPerSecond, p50Ms: p50, p99Ms: p99 };
}

/** The median of several rounds, by operations a second. */
async function measure(work: Work, options: Options): Promise<Row> {
  const rows: Row[] = [];
  await measureOnce(work, options.durationMs / 4);
  for (let round = 0; round < options.rounds; round += 1) {
    rows.push(await measureOnce(work, options.durationMs));
  }
  rows.sort((a, b) => a.opsPerSecond - b.opsPerSecond);
  return rows[rows.length >> 1]!;
}

interface Options {
  readonly documents: number;
  readonly durationMs: number;
  readonly rounds: number;
}

type Report = (row: Row) => void;

async function cstore(folder: string, options: Options, report: Report): Promise<void> {
  const database = new WALDatabase({ name: "bench", root: folder });
  const system = "cstore";
  const fresh = numbered(options.documents);
  const single = database.collection<Document>("single");
  report(
    await measure(
      {
        ...{ system, work: "insert, synced", concurrency: 512, operations: 1 },
        run: () => single.insert(fresh()),
      },
      options,
    ),
  );
  const many = database.collection<Document>("many");
  report(
    await measure(
      {
        ...{ system, work: "insert 100 at once, synced", concurrency: 8, operations: 100 },
        run: () => many.insertMany(Array.from({ length: 100 }, fresh)),
      },
      options,
    ),
  );
  report(
    await measure(
      {
        ...{ system, work: "transaction over two collections", concurrency: 64, operations: 1 },
        run: () =>
          database.transaction(async (tx) => {
            const document = fresh();
            await tx.collection<Document>("single").insert(document);
            await tx.collection<Document>("many").insert(document);
          }),
      },
      options,
    ),
  );
  for (const name of ["single", "many"]) await database.dropCollection(name);
  await cstoreReads(database, options, report);
  await database.close();
}

async function cstoreReads(database: WALDatabase, options: Options, report: Report): Promise<void> {
  const system = "cstore";
  const { documents } = options;
  const all: Collection<Document> = database.collection<Document>("all");
  await all.createIndex("group", { keys: "group" });
  await all.createIndex("n", { keys: "n" });
  for (let at = 0; at < documents; at += 1000) {
    const size = Math.min(1000, documents - at);
    await all.insertMany(Array.from({ length: size }, (_, i) => documentOf(at + i)));
  }
  const works: readonly Work[] = [
    {
      ...{ system, work: "find by id", concurrency: 64, operations: 1 },
      run: (i) => all.findById(`d${pick(i, documents)}`),
    },
    {
      ...{ system, work: "find by an index, equality", concurrency: 64, operations: 1 },
      run: (i) => all.find({ group: pick(i, 100_000) }, { limit: 1 }),
    },
    {
      ...{ system, work: "find by an index, range of 100", concurrency: 16, operations: 1 },
      run: (i) => {
        const from = pick(i, documents - 100);
        return all.find({ n: { $gte: from, $lt: from + 100 } });
      },
    },
  ];
  for (const work of works) report(await measure(work, options));
}

async function sqlite(folder: string, options: Options, report: Report): Promise<void> {
  const system = "bun:sqlite, WAL, synchronous=FULL";
  const name = "bun:sqlite";
  const { Database } = (await import(name)) as typeof import("bun:sqlite");
  const database = new Database(join(folder, "sqlite.db"));
  database.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL");
  database.exec("CREATE TABLE d (id TEXT PRIMARY KEY, n INTEGER, grp INTEGER, json TEXT)");
  const insert = database.prepare("INSERT INTO d VALUES (?, ?, ?, ?)");
  let fresh = numbered(options.documents);
  const add = (document: Document): void => {
    insert.run(document.id, document.n, document.group, JSON.stringify(document));
  };
  const addMany = database.transaction((count: number) => {
    for (let i = 0; i < count; i += 1) add(fresh());
  });
  const writes: readonly Work[] = [
    {
      ...{ system, work: "insert, synced", concurrency: 1, operations: 1 },
      run: () => add(fresh()),
    },
    {
      ...{ system, work: "insert 100 at once, synced", concurrency: 1, operations: 100 },
      run: () => addMany(100),
    },
  ];
  for (const work of writes) report(await measure(work, options));
  database.exec("DELETE FROM d");
  database.exec("CREATE INDEX grp ON d (grp); CREATE INDEX n ON d (n)");
  fresh = numbered(0);
  for (let at = 0; at < options.documents; at += 10_000) {
    addMany(Math.min(10_000, options.documents - at));
  }
  const byId = database.prepare("SELECT json FROM d WHERE id = ?");
  const byGroup = database.prepare("SELECT json FROM d WHERE grp = ? LIMIT 1");
  const byRange = database.prepare("SELECT json FROM d WHERE n >= ? AND n < ? ORDER BY n");
  const parsed = (rows: readonly unknown[]): unknown[] =>
    rows.map((row) => JSON.parse((row as { json: string }).json));
  const reads: readonly Work[] = [
    {
      ...{ system, work: "find by id", concurrency: 1, operations: 1 },
      run: (i) => parsed(byId.all(`d${pick(i, options.documents)}`)),
    },
    {
      ...{ system, work: "find by an index, equality", concurrency: 1, operations: 1 },
      run: (i) => parsed(byGroup.all(pick(i, 100_000))),
    },
    {
      ...{ system, work: "find by an index, range of 100", concurrency: 1, operations: 1 },
      run: (i) => {
        const from = pick(i, options.documents - 100);
        return parsed(byRange.all(from, from + 100));
      },
    },
  ];
  for (const work of reads) report(await measure(work, options));
  database.close();
}

async function lokijs(_folder: string, options: Options, report: Report): Promise<void> {
  const system = "lokijs, memory";
  const Loki = createRequire(import.meta.url)("lokijs") as new (
    name: string,
  ) => { addCollection(name: string, options: object): LokiCollection };
  const all = new Loki("bench").addCollection("d", { unique: ["id"], indices: ["n", "group"] });
  for (let i = 0; i < options.documents; i += 1) all.insert(documentOf(i));
  const fresh = numbered(options.documents);
  const works: readonly Work[] = [
    {
      ...{ system, work: "find by id", concurrency: 1, operations: 1 },
      run: (i) => all.by("id", `d${pick(i, options.documents)}`),
    },
    {
      ...{ system, work: "insert, in memory", concurrency: 1, operations: 1 },
      run: () => all.insert(fresh()),
    },
  ];
  for (const work of works) report(await measure(work, options));
}

interface LokiCollection {
  insert(document: object): unknown;
  by(field: string, value: string): unknown;
}

async function nedb(_folder: string, options: Options, report: Report): Promise<void> {
  const system = "nedb, memory";
  const Datastore = createRequire(import.meta.url)("@seald-io/nedb") as new () => {
    insertAsync(document: object): Promise<unknown>;
    findOneAsync(query: object): Promise<unknown>;
  };
  const all = new Datastore();
  const count = Math.min(options.documents, 100_000);
  for (let i = 0; i < count; i += 1) await all.insertAsync({ _id: `d${i}`, ...documentOf(i) });
  const fresh = numbered(count);
  const works: readonly Work[] = [
    {
      ...{ system, work: "find by id", concurrency: 1, operations: 1 },
      run: (i) => all.findOneAsync({ _id: `d${pick(i, count)}` }),
    },
    {
      ...{ system, work: "insert, in memory", concurrency: 1, operations: 1 },
      run: () => {
        const document = fresh();
        return all.insertAsync({ _id: document.id, ...document });
      },
    },
  ];
  for (const work of works) report(await measure(work, options));
}

const SYSTEMS = { cstore, sqlite, lokijs, nedb };

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      documents: { type: "string", default: "1000000" },
      duration: { type: "string", default: "2" },
      rounds: { type: "string", default: "3" },
      only: { type: "string", default: Object.keys(SYSTEMS).join(",") },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return void process.stdout.write(USAGE);
  const [documents, seconds, rounds] = [values.documents, values.duration, values.rounds].map(
    Number,
  );
  const options = { documents: documents!, durationMs: seconds! * 1000, rounds: rounds! };
  const rows: Row[] = [];
  const report = (row: Row): void => {
    rows.push(row);
    if (values.json) return;
    const { system, work, concurrency, opsPerSecond, p50Ms, p99Ms } = row;
    const rate = opsPerSecond.toLocaleString("en").padStart(10);
    const times = `${p50Ms.toFixed(3)} / ${p99Ms.toFixed(3)} ms`;
    process.stdout.write(
      `${system.padEnd(34)} ${work.padEnd(34)} ${String(concurrency).padStart(4)} ${rate}/s  ${times}\n`,
    );
  };
  for (const [name, run] of Object.entries(SYSTEMS)) {
    if (!values.only.split(",").includes(name)) continue;
    const folder = mkdtempSync(join(tmpdir(), "cstore-bench-"));
    try {
      await run(folder, options, report);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ machine: machine(), rows })}\n`);
}

await main();
