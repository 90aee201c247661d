/**
 * The picture that `cluster status` prints, while a member hangs.
 *
 * @module
 */

import { expect, test } from "bun:test";
import * as net from "node:net";
import { viewCluster } from "../../cli/commands/cluster_view.ts";
import { parseEndpoint } from "../../src/base/address.ts";
import { type Seat, TestCluster } from "../node/test_cluster.ts";

// It was asked by the first node's list and again by the leader's: `--timeout` passed twice.
test("a member that hangs is asked once, and shown as down", async () => {
  const cluster = await TestCluster.start(3);
  await cluster.leader();
  const [hung, asked] = (await cluster.followers()) as [Seat, Seat];
  await cluster.kill(hung);
  let accepted = 0;
  const sockets = new Set<net.Socket>();
  const silent = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined); // It is destroyed below.
    // Members dial it too: only clients are counted, by the first bytes that they send.
    socket.once("data", (bytes) => {
      if (Buffer.from(bytes).includes("client")) accepted += 1;
    });
  });
  const { port, host } = parseEndpoint(hung.address);
  await new Promise<void>((resolve) => silent.listen(port, host, resolve));
  try {
    const { members, leader } = await viewCluster([asked.address], 500);
    expect(leader).not.toBe("");
    expect(members.filter(({ state }) => state !== "healthy").map(({ id }) => id)).toEqual([
      hung.id,
    ]);
    expect(accepted).toBe(1);
  } finally {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => silent.close(resolve));
    await cluster.stop();
  }
});
