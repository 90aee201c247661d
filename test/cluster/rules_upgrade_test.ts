/**
 * The rules version of a cluster: a new one begins with the newest, an old one is raised only when
 * every member can follow, and builds that cannot are refused.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { NEWEST_RULES } from "../../src/base/rules_version.ts";
import { RulesUpgrade } from "../../src/cluster/rules_upgrade.ts";
import type { DocumentStateMachine } from "../../src/database/document_state_machine.ts";
import type { NodeConfig } from "../../src/node/config/node_config.ts";
import { checkRules } from "../../src/node/features.ts";
import { type PreparedBatch, sealBatch } from "../../src/protocol/encoding/batch_codec.ts";
import { FIRST_PLACE, rulesIn } from "../../src/protocol/encoding/cluster_command.ts";
import { type Hello, rulesOf } from "../../src/protocol/wire/handshake.ts";
import { Configuration } from "../../src/raft/configuration.ts";
import { TestCluster, waitFor } from "../node/test_cluster.ts";

function upgrade(options: { rules?: number; bound?: number; down?: string } = {}) {
  const proposed: PreparedBatch[] = [];
  const members = ["n1", "n2", "n3"].map((id) => {
    return { id, address: "", role: "voter", incarnation: "" } as const;
  });
  const bindings = new Map([["n1", "x"]].slice(0, options.bound ?? 1) as [string, string][]);
  const machine = { rules: options.rules ?? 1, memberTable: { bindings } };
  const parts = new RulesUpgrade({
    id: "n1",
    machine: machine as unknown as DocumentStateMachine,
    driver: {
      proposeBatch: (batch) => {
        proposed.push(batch);
        return true;
      },
    },
    members: { configuration: new Configuration(members), isUp: (id) => id !== options.down },
  });
  return { parts, machine, proposed };
}

function hello(nodeId: string, features: readonly string[]): Hello {
  return { role: "peer", nodeId, features } as Hello;
}

function rulesOfBatch(batch: PreparedBatch | undefined): number | undefined {
  return batch && rulesIn(sealBatch(batch, FIRST_PLACE), 1);
}

const NEW = [`rules-${NEWEST_RULES}`];

test.each<readonly [readonly string[], number]>([
  [[], 1],
  [["zstd"], 1],
  [["rules-2"], 2],
  [["rules-7"], 7],
  [["rules-x"], 1],
  [["rules--3"], 1],
  [["rules-1e999"], 1],
])("a handshake with %j knows rules %d", (features, known) => {
  expect(rulesOf(hello("n2", features))).toBe(known);
});

test("a build that cannot follow the log is refused by name; a client is not", () => {
  const config = { id: "n1" } as NodeConfig;
  checkRules(1, config, hello("n2", []));
  checkRules(2, config, hello("n2", NEW));
  checkRules(2, config, { ...hello("n2", []), role: "client" });
  expect(() => checkRules(2, config, hello("n2", []))).toThrow(
    'Cannot connect "n1" and "n2": the log follows rules 2, and the latter\'s build knows up to 1',
  );
});

describe("the beginning of a cluster", () => {
  test("the newest rules, unless a member that was seen is older", () => {
    const { parts } = upgrade({ bound: 0 });
    expect(rulesOfBatch(parts.beginning(0))).toBe(NEWEST_RULES);
    parts.seen(hello("n2", NEW));
    expect(rulesOfBatch(parts.beginning(0))).toBe(NEWEST_RULES);
    parts.seen(hello("n3", []));
    expect(parts.beginning(0)).toBeUndefined();
  });

  test("nothing once a folder is bound, or the rules are the newest", () => {
    expect(upgrade().parts.beginning(0)).toBeUndefined();
    expect(upgrade({ bound: 0, rules: NEWEST_RULES }).parts.beginning(0)).toBeUndefined();
  });
});

describe("raising", () => {
  test("every member must be up and known: the others are named", () => {
    const { parts, proposed } = upgrade({ down: "n2" });
    parts.seen(hello("n2", NEW));
    parts.seen(hello("n3", NEW));
    expect(() => parts.raise(0)).toThrow("no contact with n2");
    const other = upgrade();
    other.parts.seen(hello("n2", NEW));
    expect(() => other.parts.raise(0)).toThrow("no contact with n3");
    other.parts.seen(hello("n3", []));
    expect(() => other.parts.raise(0)).toThrow("an older build runs on n3");
    expect([...proposed, ...other.proposed]).toEqual([]);
  });

  test("it ends when the rules are applied, or in doubt when the leader changes", async () => {
    const { parts, machine, proposed } = upgrade();
    for (const id of ["n2", "n3"]) parts.seen(hello(id, NEW));
    const first = parts.raise(0);
    parts.applied();
    expect(rulesOfBatch(proposed[0])).toBe(NEWEST_RULES);
    machine.rules = NEWEST_RULES;
    parts.applied();
    expect(await first).toMatchObject({ rules: NEWEST_RULES });
    machine.rules = 1;
    const second = parts.raise(0).catch((error: { code: string }) => error.code);
    parts.stop();
    expect(await second).toBe("UNKNOWN_OUTCOME");
  });
});

test("three nodes: all follow the newest rules before the first write", async () => {
  const cluster = await TestCluster.start(3);
  try {
    const database = await cluster.connect();
    await database.collection("c").put({ id: "a", n: null });
    await expect(database.collection("c").update("a", { $inc: { n: 1 } })).rejects.toMatchObject({
      code: "VALIDATION",
    });
    const reply = await database.cluster({ action: "rules" });
    expect(reply).toMatchObject({ rules: NEWEST_RULES, newest: NEWEST_RULES });
    expect(reply.members.map(({ id, newest }) => [id, newest])).toEqual([
      ["n1", NEWEST_RULES],
      ["n2", NEWEST_RULES],
      ["n3", NEWEST_RULES],
    ]);
    await waitFor("every node to apply the rules", () =>
      cluster.nodes.every((node) => node.machine.rules === NEWEST_RULES),
    );
  } finally {
    await cluster.stop();
  }
});
