/**
 * Whether all replicas have the same documents: every node is asked by itself, past the leader.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { CStoreError } from "../../src/base/errors.ts";
import { connect } from "../../src/client/remote_database.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import type { ChaosCluster, ChaosNode } from "./chaos_cluster.ts";
import { COLLECTION, type Register } from "./load.ts";

const READS_IN_FLIGHT = 64;

/** What was found. */
export interface ReplicaComparison {
  readonly areEqual: boolean;
  readonly failures: readonly string[];
}

/** Waits until all nodes have applied the same entry, then compares every document. */
export async function compareReplicas(
  cluster: ChaosCluster,
  keys: readonly string[],
  limitMs: number,
): Promise<ReplicaComparison> {
  const states = await waitForEqualIndexes(cluster, limitMs);
  if (states !== undefined) return { areEqual: false, failures: [states] };
  const digests = await Promise.all(cluster.nodes.map((node) => digest(node, keys)));
  const distinct = new Set(digests.map(({ hash }) => hash));
  if (distinct.size === 1) return { areEqual: true, failures: [] };
  return { areEqual: false, failures: differences(cluster, keys, digests) };
}

/** Undefined when they are equal, else what they are. */
async function waitForEqualIndexes(
  cluster: ChaosCluster,
  limitMs: number,
): Promise<string | undefined> {
  const endMs = systemClock.nowMs() + limitMs;
  for (;;) {
    const states = await Promise.all(cluster.nodes.map((node) => cluster.status(node, 2000)));
    const applied = new Set(states.map((status) => status?.appliedIndex));
    const committed = new Set(states.map((status) => status?.commitIndex));
    if (applied.size === 1 && committed.size === 1 && !applied.has(undefined)) return undefined;
    if (systemClock.nowMs() > endMs) {
      const texts = states.map((status, i) => {
        const { id } = cluster.nodes[i]!;
        if (status === undefined) return `${id} does not answer`;
        const { role, term, lastIndex, commitIndex, appliedIndex } = status;
        return `${id} ${role} term ${term} last ${lastIndex} committed ${commitIndex} applied ${appliedIndex}`;
      });
      return `replicas do not converge: ${texts.join("; ")}`;
    }
    await sleep(systemClock, 50);
  }
}

interface Digest {
  readonly hash: string;
  /** Value and version of each key, in the order of the keys. */
  readonly lines: readonly string[];
}

/** A node's documents by local reads. */
async function digest(node: ChaosNode, keys: readonly string[]): Promise<Digest> {
  const database = await connect(`127.0.0.1:${node.port}`, { timeoutMs: 10_000 });
  try {
    const collection = database.collection<Register>(COLLECTION, { read: "stale" });
    const lines: string[] = [];
    for (let at = 0; at < keys.length; at += READS_IN_FLIGHT) {
      const part = keys.slice(at, at + READS_IN_FLIGHT);
      const found = await Promise.all(part.map((key) => collection.findVersioned(key)));
      lines.push(...found.map((one) => `${one?.document.value ?? null} @ ${one?.version ?? 0}`));
    }
    lines.push(`${await collection.count()} documents`);
    const { channels, status } = {
      channels: database.client.connected,
      status: await database.status(),
    };
    if (channels.length === 0 || status["id"] !== node.id) {
      return { hash: `${node.id} was not reached`, lines: [] };
    }
    return { hash: createHash("sha256").update(lines.join("\n")).digest("hex"), lines };
  } catch (error) {
    if (!(error instanceof CStoreError)) throw error;
    return { hash: `${node.id}: ${error.message}`, lines: [] };
  } finally {
    await database.close();
  }
}

function differences(
  cluster: ChaosCluster,
  keys: readonly string[],
  digests: readonly Digest[],
): readonly string[] {
  const differing = [...keys, "count"].flatMap((key, at) => {
    const values = digests.map(({ lines }) => lines[at] ?? "-");
    if (new Set(values).size === 1) return [];
    return [`${key}: ${values.map((value, i) => `${cluster.nodes[i]?.id} ${value}`).join(", ")}`];
  });
  const unread = digests.filter(({ lines }) => lines.length === 0).map(({ hash }) => hash);
  return [`replicas differ: ${[...unread, ...differing.slice(0, 5)].join("; ")}`];
}
