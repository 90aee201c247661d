// Which node a client sends to.

import { expect, test } from "bun:test";
import { chooseChannel, likelyNext } from "../../../src/client/connection/leader_routing.ts";

function routes(...nodes: readonly (readonly [nodeId: string, isUp: boolean])[]) {
  return nodes.map(([nodeId, isUp]) => ({ nodeId, isUp, address: `${nodeId}:1` }));
}

test("routing: to the leader, or else to the next that is connected", () => {
  const all = routes(["n3", true], ["n1", false], ["n2", true]);
  expect(chooseChannel(all, "n2", 0)).toBe(2);
  expect(chooseChannel(all, "n1", 1)).toBe(2);
  expect(chooseChannel(all, "", 0)).toBe(0);
  expect(chooseChannel(routes(["n1", false]), "", 0)).toBe(-1);
});

test("routing: after the leader's end to the first of the others, whatever their order", () => {
  expect(likelyNext(routes(["n3", true], ["n1", false], ["n2", true]))).toBe(2);
  expect(likelyNext(routes(["n1", false], ["n2", false]))).toBe(0);
  expect(likelyNext([])).toBe(0);
});
