/**
 * The picture of a cluster that `cluster status` prints: every member's own answer, joined with the
 * leader's knowledge.
 *
 * @module
 */

import { UnreachableError } from "../../src/base/errors.ts";
import {
  type ClusterPicture,
  leaderAmong,
  quorumOf,
  rowOf,
} from "../../src/cluster/cluster_view.ts";
import { connect, type NodeStatus, type RemoteDatabase } from "../../src/mod.ts";
import { systemClock } from "../../src/platform/clock.ts";

/** Wait for members that are heard of when the time is over. */
const LAST_WAIT_MS = 100;

/** Asks one node. */
export function askNode(address: string, timeoutMs: number): Promise<NodeStatus> {
  return withDatabase(address, timeoutMs, (database) => database.status());
}

/** The first node that answers; rejects with UnreachableError when none does. */
export async function askAny(addresses: readonly string[], timeoutMs: number): Promise<NodeStatus> {
  const asked = addresses.map((address) => askNode(address, timeoutMs));
  const first = await Promise.any(asked).catch((error: AggregateError) => error);
  if (!(first instanceof AggregateError)) return first;
  const [reason] = first.errors as readonly unknown[];
  if (reason instanceof Error && !(reason instanceof UnreachableError)) throw reason;
  throw new UnreachableError(`Cannot reach any node at ${addresses.join(", ")}`, {
    cause: reason,
    remedy: "Check the addresses, and that the nodes run",
  });
}

/** Contacts every member; the leader's list of them is preferred. */
export async function viewCluster(
  addresses: readonly string[],
  timeoutMs: number,
): Promise<ClusterPicture> {
  const endMs = systemClock.nowMs() + timeoutMs;
  const first = await askAny(addresses, timeoutMs);
  const round = { known: new Map([[first.id, first]]), asked: new Set<string>(), endMs };
  const { known } = round;
  await askMembers(first, round);
  const leader = leaderAmong(known);
  if (leader !== undefined && leader.id !== first.id) await askMembers(leader, round);
  const { members: listed } = leader ?? first;
  const members = listed.map((member) => rowOf(member, known.get(member.id), leader));
  const up = [...known.values()];
  return {
    clusterId: first.clusterId,
    term: leader?.term ?? Math.max(...up.map((answer) => answer.term)),
    leader: leader?.id ?? "",
    syncMode: first.syncMode,
    ...quorumOf(members),
    members,
  };
}

/** Nodes that are asked for one picture. */
interface Round {
  readonly known: Map<string, NodeStatus>;
  /** Addresses: who did not answer is not asked again. */
  readonly asked: Set<string>;
  readonly endMs: number;
}

/** Contacts the members that `from` lists and that were not asked yet. */
async function askMembers(from: NodeStatus, { known, asked, endMs }: Round): Promise<void> {
  const others = from.members.filter(({ id, address }) => !known.has(id) && !asked.has(address));
  for (const { address } of others) asked.add(address);
  const leftMs = Math.max(LAST_WAIT_MS, endMs - systemClock.nowMs());
  const answers = await Promise.allSettled(others.map(({ address }) => askNode(address, leftMs)));
  for (const [at, answer] of answers.entries()) {
    const id = others[at]?.id ?? "";
    if (answer.status === "rejected") continue;
    // Another node may answer at a member's address.
    const isIt = answer.value.id === id && answer.value.clusterId === from.clusterId;
    if (isIt) known.set(id, answer.value);
  }
}

/** Closes a database after use. */
export async function withDatabase<R>(
  url: string,
  timeoutMs: number,
  use: (database: RemoteDatabase) => Promise<R>,
): Promise<R> {
  const database = await connect(url, { timeoutMs });
  try {
    return await use(database);
  } finally {
    await database.close();
  }
}
