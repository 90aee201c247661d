/**
 * The programs in docs/examples, as they stand there but for their ports, in a folder of their own.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePorts } from "../../cli/local/local_cluster.ts";
import { freshFolder } from "../node/test_cluster.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const EXAMPLES = join(ROOT, "docs/examples");

const EXPECTED: Readonly<Record<string, readonly RegExp[]>> = {
  "backup.ts": [/backed up at entry/, /is gone: 0/, /found again: 100\n/, /goes on: 101\n/],
  "cluster.ts": [/leader is known: true/, /5000 documents seen through node-3/, /node-2 healthy/],
  "embedded.ts": [/visits: 2/, /refused: VERSION_CONFLICT/],
  "failover.ts": [/the leader is gone/, /all 200 changes, in order/, /200 documents/],
  "indexes.ts": [/Persuasion, Emma/, /index: "tags"/, /unique index title already/, /old: Faust/],
  "survive_kill.ts": [/nothing is lost/, /and nothing was removed/],
  "three_processes.ts": [/killed node-/, /counted to 300/, /another node leads/],
  "transaction.ts": [/rolled back: ada has too little/, /balance: 50/, /2 transfers/],
  "two_offices.ts": [
    /apples left: 5/,
    /tags: fruit, north, south/,
    /the same order in both: 90 90 true/,
    /o1 north: called by north; south: called by south/,
    /conflicts left: 0/,
  ],
  "two_stores.ts": [/refused: .*failed to prepare/, /A1 belongs to ada/, /grace pays nothing/],
};

test("each example is tested", () => {
  const programs = readdirSync(EXAMPLES).filter((name) => name.endsWith(".ts"));
  expect(programs.sort()).toEqual(Object.keys(EXPECTED));
});

for (const [name, expected] of Object.entries(EXPECTED)) {
  test(`example: ${name}`, async () => {
    const folder = freshFolder();
    mkdirSync(join(folder.path, "node_modules"));
    symlinkSync(ROOT, join(folder.path, "node_modules/cstore"));
    const ports = await freePorts(3);
    let text = readFileSync(join(EXAMPLES, name), "utf8");
    for (const [at, port] of ports.entries())
      text = text.replaceAll(String(8080 + at), String(port));
    writeFileSync(join(folder.path, name), text);
    const child = spawn(process.execPath, [join(folder.path, name)], { cwd: folder.path });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.on("data", (chunk) => {
        output += String(chunk);
      });
    }
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect({ code, output: code === 0 ? "" : output }).toEqual({ code: 0, output: "" });
    for (const line of expected) expect(output).toMatch(line);
    folder.remove();
  }, 300_000);
}
