/**
 * What a node makes of others that refuse it: one that lags may not know yet that it was let in.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { HandshakeError, RemovedError } from "../../src/base/errors.ts";
import type { Bindings } from "../../src/cluster/bindings.ts";
import { PeerWatch } from "../../src/cluster/peer_watch.ts";
import { systemClock } from "../../src/platform/clock.ts";
import { Configuration } from "../../src/raft/configuration.ts";
import type { RaftDriver } from "../../src/replication/raft/raft_driver.ts";
import { IDENTITY } from "../storage/log_fixture.ts";

function watch(voters: readonly string[], isOwnBound = false) {
  const fatal: string[] = [];
  const members = voters.map((id) => {
    return { id, address: "", role: "voter", incarnation: "" } as const;
  });
  const view = { configuration: new Configuration(members), term: 1, role: "follower" };
  const driver = { view, peerUnreachable: () => undefined, peerGone: () => undefined };
  const peers = new PeerWatch({
    identity: IDENTITY,
    clock: systemClock,
    leaseMs: undefined,
    bindings: { isOwnBound } as unknown as Bindings,
    driver: driver as unknown as RaftDriver,
    ownAddress: () => "",
    members: { reach: () => undefined, noteSupplanted: () => false },
    lost: () => undefined,
    fatal: (error) => fatal.push(error.code),
  });
  return { peers, fatal };
}

const refusal = new HandshakeError("refused", {
  fields: { incarnation: IDENTITY.incarnation },
});

function removedError(incarnation: string): RemovedError {
  return new RemovedError("removed", { fields: { nodeId: "n3", incarnation } });
}

describe("refusals for the folder", () => {
  test("a node that has just joined knows no voters: refusals do not end it", () => {
    const { peers, fatal } = watch([]);
    for (const id of ["n1", "n2", "n3"]) peers.failed(id, refusal);
    expect(fatal).toEqual([]);
  });

  // Found at random: whoever dialled a node in the moment of its removal took itself for removed.
  test("this node's folder was removed: it ends; another one's, seen from here: it goes on", () => {
    const { peers, fatal } = watch(["n1", "n2", "n3"]);
    peers.failed("n3", removedError("0123"));
    expect(fatal).toEqual([]);
    peers.failed("n2", removedError(IDENTITY.incarnation));
    expect(fatal).toEqual(["REMOVED"]);
  });

  test("a majority of the voters ends it, one of them twice does not", () => {
    const { peers, fatal } = watch(["n1", "n2", "n3"]);
    for (const id of ["n2", "n2", "n2"]) peers.failed(id, refusal);
    peers.failed("n3", new HandshakeError("another version"));
    expect(fatal).toEqual([]);
    peers.failed("n3", refusal);
    expect(fatal).toEqual(["HANDSHAKE"]);
  });

  test("a node whose own log says that the folder is right goes on", () => {
    const { peers, fatal } = watch(["n1", "n2", "n3"], true);
    for (const id of ["n2", "n3"]) peers.failed(id, refusal);
    expect(fatal).toEqual([]);
  });
});
