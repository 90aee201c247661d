/**
 * Databases to try a collection's calls on: one of this process, and one of a cluster.
 *
 * @module
 */

import { type Database, type Validators, WALDatabase } from "../../../src/mod.ts";
import { freshFolder, TestCluster } from "../../node/test_cluster.ts";

/** A database with what it lives in. */
export interface Home {
  readonly database: Database;
  close(): Promise<void>;
}

/** A database in this process. */
export async function embedded(validators: Validators = {}): Promise<Home> {
  const folder = freshFolder();
  const database = new WALDatabase({ name: "d", root: folder.path, validators });
  await database.open();
  const close = async (): Promise<void> => {
    await database.close();
    folder.remove();
  };
  return { database, close };
}

/** A client of three nodes. */
export async function remote(validators: Validators = {}): Promise<Home> {
  const cluster = await TestCluster.start(3);
  const options = { validators };
  return {
    database: await cluster.connect(cluster.addresses, options),
    close: () => cluster.stop(),
  };
}
