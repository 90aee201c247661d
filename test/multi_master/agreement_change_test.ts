/**
 * The steps of the agreement: which one is due, and what each makes of it.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import type { Agreement, MemberProgress } from "../../src/multi_master/operation/agreement.ts";
import {
  type AgreementChange,
  changeAgreement,
  dueChange,
  NO_AGREEMENT,
  withCollection,
  withoutCollection,
} from "../../src/multi_master/operation/agreement_change.ts";

const RULE = { strategy: "set" } as const;

function open(node: string, incarnation: number): AgreementChange {
  return { action: "open", node, origin: `${node}/${incarnation}` };
}

function after(...changes: readonly AgreementChange[]): Agreement {
  return changes.reduce(changeAgreement, NO_AGREEMENT);
}

/** What is due for members that know the agreement and have these operations on disk. */
function due(
  agreement: Agreement,
  members: Readonly<Record<string, { origin?: string; has?: Record<string, number> }>>,
  how: { readonly version?: number } = {},
): AgreementChange | undefined {
  const wanted = Object.entries(members).map(([node, { origin = `${node}/1` }]) => {
    return [node, origin] as const;
  });
  return dueChange(agreement, {
    has: (node) => node in members,
    wanted: new Map(wanted),
    progress: () =>
      Object.entries(members).map(([node, { origin = `${node}/1`, has = {} }]): MemberProgress => {
        const { version = agreement.version } = how;
        return { origin, cursor: new Map(Object.entries(has)), version, round: 0 };
      }),
  });
}

describe("collections", () => {
  test("each has a number of its own, also after it is gone", () => {
    const one = withCollection(NO_AGREEMENT, RULE);
    const none = withoutCollection(one, one.version);
    const two = withCollection(none, RULE);
    expect([one.version, two.version]).toEqual([1, 3]);
    expect([...two.collections.keys()]).toEqual([3]);
    expect(withoutCollection(two, 1)).toBe(two);
  });
});

describe("incarnations", () => {
  test("a new one closes the one before; none begins twice", () => {
    const agreement = after(open("n1", 1), open("n2", 1), open("n1", 2));
    expect(agreement.origins).toEqual(
      new Map([
        ["n1", "n1/2"],
        ["n2", "n2/1"],
      ]),
    );
    expect(agreement.closed).toEqual(new Map([["n1/1", undefined]]));
    expect(changeAgreement(agreement, open("n1", 1))).toBe(agreement);
    expect(changeAgreement(agreement, open("n1", 2))).toBe(agreement);
    expect(changeAgreement(agreement, { action: "close", node: "n9" })).toBe(agreement);
  });

  test("an end counts for the agreement that it was made for, and for what is over", () => {
    const agreement = after(open("n1", 1), open("n1", 2));
    const ends = new Map([
      ["n1/1", 7],
      ["n5/1", 9],
    ]);
    const late = { action: "end", version: agreement.version - 1, ends } as const;
    expect(changeAgreement(agreement, late)).toBe(agreement);
    const ended = changeAgreement(agreement, { ...late, version: agreement.version });
    expect(ended.closed).toEqual(new Map([["n1/1", 7]]));
    expect(ended.version).toBe(agreement.version + 1);
  });
});

describe("what is due", () => {
  test("first nodes that are no members are closed, then new incarnations begin", () => {
    const agreement = after(open("n1", 1), open("n2", 1));
    expect(due(agreement, { n1: {} })).toEqual({ action: "close", node: "n2" });
    expect(due(agreement, { n1: {}, n2: {}, n3: {} })).toEqual(open("n3", 1));
    expect(due(agreement, { n1: { origin: "n1/2" }, n2: {} })).toEqual(open("n1", 2));
  });

  test("an incarnation that is over is not begun again", () => {
    const agreement = after(open("n1", 1), open("n1", 2));
    expect(due(agreement, { n1: { origin: "n1/1" } })).not.toMatchObject({ action: "open" });
  });

  test("an end is the highest on any disk, once all know that it is over", () => {
    const agreement = after(open("n1", 1), open("n2", 1), open("n3", 1), {
      action: "close",
      node: "n3",
    });
    const members = { n1: { has: { "n3/1": 4 } }, n2: { has: { "n3/1": 6 } } };
    expect(due(agreement, members, { version: 1 })).toBeUndefined();
    expect(due(agreement, members)).toEqual({
      ...{ action: "end", version: agreement.version },
      ends: new Map([["n3/1", 6]]),
    });
  });

  test("then the floor rises to what all have", () => {
    const agreement = after(open("n1", 1), open("n2", 1));
    const members = { n1: { has: { "n1/1": 4 } }, n2: { has: { "n1/1": 3 } } };
    const change = due(agreement, members);
    expect(change).toMatchObject({ action: "floor", proposal: { retired: [] } });
    const raised = changeAgreement(agreement, change!);
    expect(raised.floor).toMatchObject({ round: 1, floor: new Map([["n1/1", 3]]) });
    expect(changeAgreement(raised, change!)).toBe(raised);
  });

  test("nothing, where the leader takes no part yet", () => {
    const agreement = after(open("n1", 1));
    const known = { has: () => true, wanted: new Map<string, string>(), progress: () => undefined };
    expect(dueChange(agreement, known)).toBeUndefined();
  });
});
