/**
 * Writers over a cluster, and the comparison of what its nodes hold in the end.
 *
 * @module
 */

import { expect } from "bun:test";
import { ClosedError } from "../../src/base/errors.ts";
import type { RemoteDatabase } from "../../src/client/remote_database.ts";
import { type TestCluster, waitFor } from "./test_cluster.ts";

const LANES = 8;

/** A load that runs until it is stopped. */
export interface Writer {
  /** Document id -> version. */
  readonly acknowledged: ReadonlyMap<string, number>;
  readonly failed: readonly unknown[];
  stop(): Promise<void>;
}

/**
 * Writes new documents one after the other until it is stopped or the client is closed; keeps
 * what was acknowledged, and what failed.
 */
export function startWriter(database: RemoteDatabase, collection: string, text = ""): Writer {
  const acknowledged = new Map<string, number>();
  const failed: unknown[] = [];
  let isStopped = false;
  const loop = async (lane: number): Promise<void> => {
    for (let i = 0; !isStopped; i += 1) {
      const id = `${lane}-${i}`;
      await database
        .collection(collection)
        .put({ id, n: i, text })
        .then((version) => acknowledged.set(id, version))
        .catch((error) => {
          failed.push(error);
          isStopped ||= error instanceof ClosedError;
        });
    }
  };
  const lanes = Promise.all(Array.from({ length: LANES }, (_, lane) => loop(lane)));
  return {
    acknowledged,
    failed,
    async stop(): Promise<void> {
      isStopped = true;
      await lanes;
    },
  };
}

/** Waits until every running node has applied the same, then compares what they hold. */
export async function expectSame(cluster: TestCluster): Promise<void> {
  await waitFor("all nodes to be level", () => {
    const applied = cluster.nodes.map((node) => node.machine.appliedIndex);
    return new Set(applied).size === 1;
  });
  const [first, ...others] = cluster.nodes.map(({ machine }) => [
    machine.documentCount,
    machine.sessions.size,
    machine.memberTable.state(),
  ]);
  for (const other of others) expect(other).toEqual(first ?? []);
}

/** Every acknowledged write is there, in its version, and nothing else. */
export async function expectAll(
  database: RemoteDatabase,
  name: string,
  { acknowledged }: Writer,
): Promise<void> {
  const collection = database.collection(name);
  expect(await collection.count()).toBe(acknowledged.size);
  const found = [...acknowledged.keys()].map((id) => collection.findVersioned(id));
  const versions = (await Promise.all(found)).map((read) => read?.version);
  expect(versions).toEqual([...acknowledged.values()]);
}
