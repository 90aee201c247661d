/**
 * The picture of a cluster that `cluster status` prints: every member asked directly, joined with
 * what the leader knows.
 *
 * @module
 */

import { UnreachableError } from "../src/base/errors.ts";
import { connect, type NodeStatus, type RemoteDatabase } from "../src/mod.ts";

/** One row of the table. */
export interface MemberRow {
  readonly id: string;
  readonly address: string;
  readonly pid: number | null;
  readonly role: string;
  readonly state: "healthy" | "suspect" | "down";
  readonly term: number | null;
  readonly commitIndex: number | null;
  readonly appliedIndex: number | null;
  readonly lagBatches: number | null;
  readonly lagMs: number | null;
  readonly rttMs: number | null;
  readonly version: string | null;
}

/** The whole cluster. */
export interface ClusterPicture {
  readonly clusterId: string;
  readonly term: number;
  /** Node id; empty while nobody leads. */
  readonly leader: string;
  readonly syncMode: string;
  readonly quorum: {
    readonly voters: number;
    readonly reachable: number;
    readonly canLose: number;
  };
  readonly members: readonly MemberRow[];
}

/** Asks one node. */
export async function askNode(address: string, timeoutMs: number): Promise<NodeStatus> {
  const database = await connect(address, { timeoutMs });
  try {
    return (await database.status()) as unknown as NodeStatus;
  } finally {
    await database.close();
  }
}

/** The first node that answers; rejects with UnreachableError when none does. */
export async function askAny(addresses: readonly string[], timeoutMs: number): Promise<NodeStatus> {
  const answers = await Promise.allSettled(addresses.map((address) => askNode(address, timeoutMs)));
  for (const answer of answers) if (answer.status === "fulfilled") return answer.value;
  const reason = answers[0]?.status === "rejected" ? answers[0].reason : undefined;
  if (reason instanceof Error && !(reason instanceof UnreachableError)) throw reason;
  throw new UnreachableError(`Cannot reach any node at ${addresses.join(", ")}`, {
    cause: reason,
    remedy: "Check the addresses, and that the nodes run",
  });
}

/** Asks every member. */
export async function viewCluster(
  addresses: readonly string[],
  timeoutMs: number,
): Promise<ClusterPicture> {
  const first = await askAny(addresses, timeoutMs);
  const asked = await Promise.allSettled(
    first.members.map((member) =>
      member.id === first.id ? first : askNode(member.address, timeoutMs),
    ),
  );
  const answers = asked.map((answer) => (answer.status === "fulfilled" ? answer.value : undefined));
  const up = answers.filter((answer) => answer !== undefined);
  const leader = up.find(
    (answer) => answer.role === "leader" && answer.term === Math.max(...up.map((a) => a.term)),
  );
  const members = first.members.map((member, at) => rowOf(member, answers[at], leader));
  const reachable = members.filter((member) => member.state !== "down").length;
  const voters = members.length;
  const needed = Math.floor(voters / 2) + 1;
  return {
    clusterId: first.clusterId,
    term: leader?.term ?? Math.max(...up.map((answer) => answer.term)),
    leader: leader?.id ?? "",
    syncMode: first.syncMode,
    quorum: { voters, reachable, canLose: Math.max(0, reachable - needed) },
    members,
  };
}

function rowOf(
  member: NodeStatus["members"][number],
  own: NodeStatus | undefined,
  leader: NodeStatus | undefined,
): MemberRow {
  const seen = leader?.members.find((other) => other.id === member.id);
  return {
    id: member.id,
    address: member.address,
    pid: own?.pid ?? null,
    role: own?.role ?? "unknown",
    state:
      own === undefined
        ? "down"
        : (seen?.state ?? "healthy") === "down"
          ? "suspect"
          : (seen?.state ?? "healthy"),
    term: own?.term ?? null,
    commitIndex: own?.commitIndex ?? null,
    appliedIndex: own?.appliedIndex ?? null,
    lagBatches: seen?.lagBatches ?? null,
    lagMs: seen?.lagMs === null || seen?.lagMs === undefined ? null : Math.round(seen.lagMs),
    rttMs: seen?.rttMs === null || seen?.rttMs === undefined ? null : Number(seen.rttMs.toFixed(3)),
    version: own?.version ?? null,
  };
}

/** Whether a quorum is there and led. */
export function isHealthy(picture: ClusterPicture): boolean {
  const { voters, reachable } = picture.quorum;
  return picture.leader !== "" && reachable * 2 > voters;
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
