/**
 * A change of the members under load: a new node joins, takes a member's place, and that one's
 * process ends.
 *
 * @module
 */

import { sleep, systemClock } from "../../src/platform/clock.ts";
import type { MembershipRequest } from "../../src/protocol/wire/request.ts";
import type { ChaosNode } from "./chaos_cluster.ts";
import type { Scene } from "./scene.ts";

/** Longest time of one step while other faults go on. */
const STEP_MAX_MS = 90_000;
const RETRY_MS = 200;

/**
 * Half of the time the new node first becomes a voter and the old one is removed then; else it
 * waits as a standby, and both change places at once through joint consensus.
 */
export async function replaceMember(scene: Scene): Promise<void> {
  const { cluster, random } = scene;
  if (cluster.nodes.some((node) => node.isJoining)) return;
  const old = await scene.take();
  if (old === undefined || cluster.nodes.some((node) => node.isJoining)) return;
  const isAtOnce = random.chance(0.5);
  const fresh = await cluster.addJoiner();
  fresh.isTaken = true;
  scene.tell(`${fresh.id} for ${old.id}${isAtOnce ? ", at once" : ", one after the other"}`);
  const words = isAtOnce ? ["--standby"] : [];
  const role = isAtOnce ? "standby" : "voter";
  old.isLeaving = true;
  const steps = [
    { name: `${fresh.id} is no ${role}`, run: () => join(scene, fresh, { words, role }) },
    { name: `${old.id} is still a member`, run: () => leave(scene, { old, fresh, isAtOnce }) },
  ];
  for (const { name, run } of steps) {
    if (await untilDone(run)) continue;
    scene.fail(`${name} after ${STEP_MAX_MS} ms`);
    return;
  }
  fresh.isTaken = false;
  await cluster.discard(old);
}

async function untilDone(run: () => Promise<boolean>): Promise<boolean> {
  const endMs = systemClock.nowMs() + STEP_MAX_MS;
  while (!(await run())) {
    if (systemClock.nowMs() > endMs) return false;
    await sleep(systemClock, RETRY_MS);
  }
  return true;
}

/** Whether the new node has its role; starts its process if need be. */
async function join(
  scene: Scene,
  fresh: ChaosNode,
  wanted: { readonly words: readonly string[]; readonly role: string },
): Promise<boolean> {
  if (fresh.child === undefined) await scene.cluster.startNode(fresh, wanted.words);
  if (fresh.isListening) fresh.isJoining = false;
  return (await membershipOf(scene, fresh.id)) === wanted.role;
}

/** Whether the old node is gone from the members; asks for it. */
async function leave(
  scene: Scene,
  { old, fresh, isAtOnce }: { old: ChaosNode; fresh: ChaosNode; isAtOnce: boolean },
): Promise<boolean> {
  const request: MembershipRequest = isAtOnce
    ? { action: "replace", id: old.id, by: fresh.id }
    : { action: "remove", id: old.id };
  const code = await scene.change(request);
  if (code === "") return true;
  // An answer was lost, perhaps. Committed or not is told by a later leader, too.
  if (code !== "MEMBERSHIP" || (await membershipOf(scene, old.id)) !== undefined) return false;
  await sleep(systemClock, RETRY_MS);
  return (await scene.change(request)) === "MEMBERSHIP";
}

/** A node's place in the cluster as the leader knows it; undefined when it has none. */
async function membershipOf(scene: Scene, id: string): Promise<string | undefined> {
  const leader = await scene.cluster.leader();
  if (leader === undefined) return "unknown";
  const status = await scene.cluster.status(leader);
  if (status === undefined) return "unknown";
  return status.members.find((member) => member.id === id)?.membership;
}
