/**
 * Three node processes on the runtime that runs this file: write, kill the leader, read back, go
 * on. Prints one line and exits with 0, or fails.
 *
 * @module
 */

import process from "node:process";
import { LocalCluster } from "../../cli/local/local_cluster.ts";
import { connect } from "../../src/mod.ts";
import { runtimeName } from "../../src/platform/process.ts";
import { checksumOfKeys, KEYS_OF_VERSION_1 } from "../base/collation_keys.ts";

const WRITES = 200;

/** Nodes on all runtimes order texts alike. */
function checkCollations(): void {
  for (const strength of [1, 2, 3] as const) {
    const found = checksumOfKeys({ version: 1, strength });
    const expected = KEYS_OF_VERSION_1[strength];
    if (found !== expected) throw new Error(`collation ${strength}: ${found}, not ${expected}`);
  }
}

async function smoke(): Promise<string> {
  checkCollations();
  const cluster = await LocalCluster.start({ nodes: 3 });
  try {
    const database = await connect(cluster.addresses, { timeoutMs: 20_000 });
    const collection = database.collection<{ id: number; text: string }>("smoke");
    const put = (id: number): Promise<number> => collection.put({ id, text: `document ${id}` });
    await Promise.all(Array.from({ length: WRITES }, (_, id) => put(id)));
    const leader = await cluster.waitForLeader();
    await cluster.signal(leader, "SIGKILL");
    await put(WRITES);
    for (let id = 0; id <= WRITES; id += 1) {
      const found = await collection.findById(id);
      if (found?.text !== `document ${id}`) throw new Error(`document ${id} is lost`);
    }
    const next = await cluster.waitForLeader();
    await database.close();
    return `ok: ${runtimeName()}, leader ${leader.id} -> ${next.id}, ${WRITES + 1} documents`;
  } finally {
    await cluster.stop();
  }
}

console.log(await smoke());
process.exit(0);
