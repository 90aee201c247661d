/**
 * A hand-over is judged by the node that leads at the end.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { DeadlineError, MembershipError, UnreachableError } from "../../src/base/errors.ts";
import { RemoteDatabase } from "../../src/client/remote_database.ts";
import { Handover } from "../../src/cluster/handover.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { Configuration } from "../../src/raft/configuration.ts";
import type { RaftDriver } from "../../src/replication/raft/raft_driver.ts";
import { MovableClock } from "../node/mortal_platform.ts";
import { rejection, TestCluster } from "../node/test_cluster.ts";

const members = ["n1", "n2", "n3"].map((id) => {
  return { id, address: "", role: "voter", incarnation: "" } as const;
});

/** n1 leads and was asked to hand over to n2; the election timeout has passed. */
function lateHandover() {
  const clock = new MovableClock();
  const view = {
    ...{ leader: "n1", term: 1, hasCommittedOwnTerm: true },
    configuration: new Configuration(members),
  };
  const driver = { view, isLeader: true, transferLeadership: () => true };
  const handover = new Handover(driver as unknown as RaftDriver, clock, "n1");
  const promoted = handover.promote("n2");
  const elect = (leader: string): void => {
    Object.assign(view, { leader, term: 2 });
    driver.isLeader = leader === "n1";
    handover.applied();
  };
  handover.event({ type: "TRANSFER_ENDED", to: "n2", done: false });
  return { clock, promoted, elect };
}

describe("a hand-over whose campaign comes after an election timeout", () => {
  test("succeeds when the node leads in the end", async () => {
    const { clock, promoted, elect } = lateHandover();
    clock.advance(900);
    elect("n2");
    expect(await promoted).toMatchObject({ from: "n1", to: "n2", term: 2 });
    clock.stop();
  });

  test("fails when the old leader still leads, and when a third node was elected", async () => {
    const goesOn = lateHandover();
    goesOn.clock.advance(1100);
    expect(await rejection(goesOn.promoted)).toBeInstanceOf(DeadlineError);
    const third = lateHandover();
    third.elect("n3");
    expect(await rejection(third.promoted)).toBeInstanceOf(MembershipError);
    third.clock.advance(1100);
    for (const { clock } of [goesOn, third]) clock.stop();
  });
});

test("an answer that was lost counts for nothing when the node leads", async () => {
  const cluster = await TestCluster.start(1);
  const status = encodeCbor({ ...cluster.nodes[0]?.status(), leader: "n2", term: 7 }).slice();
  await cluster.stop();
  const lost = (error: Error): RemoteDatabase => {
    const execute = ({ kind }: { kind: string }) =>
      kind === "STATUS" ? Promise.resolve(status) : Promise.reject(error);
    return new RemoteDatabase({ execute, platform: { clock: new MovableClock() } } as never);
  };
  for (const error of [new DeadlineError("late"), new UnreachableError("gone")]) {
    const database = lost(error);
    expect(await database.promote("n2")).toMatchObject({ from: "", to: "n2", term: 7 });
    expect(await rejection(database.promote("n3"))).toBe(error);
  }
  const refusal = new MembershipError("a learner");
  expect(await rejection(lost(refusal).promote("n2"))).toBe(refusal);
});
