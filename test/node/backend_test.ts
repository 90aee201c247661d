/**
 * Requests as a node's parts answer them: what a node that does not lead, or restores, refuses.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { NotLeaderError } from "../../src/base/errors.ts";
import { Backend, type BackendParts } from "../../src/node/backend.ts";
import { Configuration } from "../../src/raft/configuration.ts";

interface Scene {
  readonly isLeader?: boolean;
  readonly leader?: string;
  readonly isFresh?: boolean;
  /** Term of the last applied entry; the node's own is 7. */
  readonly appliedTerm?: number;
  readonly isRestoring?: boolean;
  readonly isSettled?: boolean;
  readonly up?: readonly string[];
  readonly takesBatches?: boolean;
}

function backend(scene: Scene) {
  const { isLeader = false, leader = "", isFresh = true, isRestoring = false, up = [] } = scene;
  const proposed: unknown[] = [];
  const members = ["n1", "n2", "n3"].map((id) => {
    return { id, address: `${id}:1`, role: "voter", incarnation: "" } as const;
  });
  const driver = {
    log: {},
    isLeader,
    lastOwnProposal: 4,
    view: { term: 7, leader: leader === "" ? undefined : leader, lastIndex: 12 },
    hasFreshQuorum: () => isFresh,
    propose: (request: unknown) => void proposed.push(request),
    proposeBatch: () => scene.takesBatches ?? true,
    notLeader: (address: string) => new NotLeaderError("not here", { id: leader, address }),
  };
  const parts = {
    clock: { wallMs: () => 1000 },
    config: { id: "n1", syncMode: "SYNC", requestTimeoutMs: 5, sessionTimeoutMs: 6 },
    driver,
    bindings: { isSettled: scene.isSettled ?? true },
    members: { configuration: new Configuration(members), addressOf: (id: string) => `${id}:1` },
    network: { isConnected: (id: string) => up.includes(id) },
    exchange: { isRestoring },
    machine: { position: { term: scene.appliedTerm ?? 7 } },
    changes: { execute: async () => "changed" },
    verifier: { answer: async () => "digest" },
  };
  return { proposed, backend: new Backend(parts as unknown as BackendParts) };
}

describe("commands", () => {
  test("a leader takes them, once the voters are bound to their folders", () => {
    const led = backend({ isLeader: true });
    expect(led.backend.propose("request" as never)).toBeUndefined();
    expect(led.proposed).toEqual(["request"]);
    const early = backend({ isLeader: true, isSettled: false });
    expect(early.backend.propose("request" as never)?.code).toBe("NO_QUORUM");
    expect(early.proposed).toEqual([]);
  });

  test("a follower names the leader; without one, whether a quorum is in reach decides", () => {
    const refusal = (scene: Scene) => backend(scene).backend.propose("request" as never);
    expect(refusal({ leader: "n2", up: ["n2"] })).toMatchObject({
      code: "NOT_LEADER",
      leaderId: "n2",
      leaderAddress: "n2:1",
    });
    expect(refusal({ up: ["n2"] })?.code).toBe("NOT_LEADER");
    expect(refusal({})).toMatchObject({
      code: "NO_QUORUM",
      message: "Cannot serve: 1 of 3 voters are reachable",
    });
  });
});

describe("reads", () => {
  test.each([
    [{ isLeader: true }, "leader", undefined],
    [{ isLeader: true, isFresh: false, leader: "n2" }, "leader", "NOT_LEADER"],
    [{ isLeader: true, appliedTerm: 6, leader: "n1", up: ["n2"] }, "leader", "NOT_LEADER"],
    [{ isLeader: true, appliedTerm: 6 }, "stale", undefined],
    [{ leader: "n2" }, "leader", "NOT_LEADER"],
    [{ leader: "n2" }, "stale", undefined],
    [{ isLeader: true, isRestoring: true }, "leader", "OVERLOADED"],
    [{ isRestoring: true }, "stale", "OVERLOADED"],
  ] as const)("%j, level %s: %p", (scene, level, code) => {
    expect(backend(scene).backend.refuseRead(level)?.code).toBe(code as never);
  });
});

describe("the cluster", () => {
  test("digests are answered anywhere, changes and comparisons by the leader", async () => {
    const follower = backend({ leader: "n2" }).backend;
    expect(await follower.cluster({ action: "digest", index: 3 })).toBe("digest" as never);
    const refused = follower.cluster({ action: "remove", id: "n3" });
    await expect(refused).rejects.toMatchObject({ code: "NOT_LEADER" });
    const leader = backend({ isLeader: true }).backend;
    expect(await leader.cluster({ action: "remove", id: "n3" })).toBe("changed" as never);
    expect(await leader.cluster({ action: "verify" })).toEqual({ index: 12 });
    const busy = backend({ isLeader: true, takesBatches: false }).backend;
    await expect(busy.cluster({ action: "verify" })).rejects.toMatchObject({
      code: "OVERLOADED",
      retryAfterMs: 200,
    });
  });
});
