/**
 * A first start that fails or is interrupted leaves nothing behind that misleads the next one.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { freePorts } from "../../cli/local/local_cluster.ts";
import { type NodeOptions, parseNodeConfig } from "../../src/node/config/node_config.ts";
import { Node } from "../../src/node/node.ts";
import { reservePort } from "../../src/node/reserve_port.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import type { Listener } from "../../src/platform/sockets.ts";
import { ReservedPort } from "../../src/transport/reserved_port.ts";
import { freshFolder, rejection, waitFor } from "./test_cluster.ts";

const platform = systemPlatform();
const folder = freshFolder();
const dataDirectory = `${folder.path}/n1`;
let port = 0;

beforeEach(async () => {
  [port = 0] = await freePorts(1);
});
afterEach(() => rmSync(dataDirectory, { recursive: true, force: true }));

function open(options: Partial<NodeOptions>): Promise<Node> {
  return Node.open(platform, parseNodeConfig({ id: "n1", dataDirectory, ...options }));
}

/** Somebody else has the port. */
function taken(): Promise<Listener> {
  return platform.network.listen({ host: "127.0.0.1", port }, (socket) => socket.destroy());
}

test.each<readonly [string, () => Partial<NodeOptions>]>([
  ["a list of members", () => ({ members: [{ id: "n1", address: `127.0.0.1:${port}` }] })],
  ["--join", () => ({ join: ["127.0.0.1:1"], listen: `127.0.0.1:${port}` })],
])("a port that is taken, with %s: nothing is written", async (_name, options) => {
  const other = await taken();
  const error = await rejection(open(options()));
  expect([error.code, error.message]).toEqual(["UNREACHABLE", expect.stringContaining(`${port}`)]);
  expect(existsSync(dataDirectory)).toBe(false);
  await other.close();
  // With another port the folder serves at once.
  const [free] = await freePorts(1);
  const node = await open({ members: [{ id: "n1", address: `127.0.0.1:${free}` }] });
  expect(node.network?.endpoint.port).toBe(free as number);
  await node.stop();
});

test("a folder that was begun and holds no entry says what to do", async () => {
  const node = await open({ members: [{ id: "n1", address: `127.0.0.1:${port}` }] });
  await node.stop();
  rmSync(`${dataDirectory}/wal`, { recursive: true });
  const error = await rejection(open({}));
  expect([error.code, error.message, error.remedy]).toEqual([
    "CONFIG",
    expect.stringContaining("its log holds no entry"),
    expect.stringContaining("delete the folder"),
  ]);
});

test("a reserved port hangs up until it is taken over, and is free after a failure", async () => {
  const config = parseNodeConfig({ id: "n1", dataDirectory, listen: `127.0.0.1:${port}` });
  const reserved = await reservePort(platform, config);
  expect(reserved?.endpoint.port).toBe(port);
  const early = await platform.network.connect({ host: "127.0.0.1", port }, 1000);
  let isClosed = false;
  early.attach({
    data: () => undefined,
    drain: () => undefined,
    close: () => {
      isClosed = true;
    },
  });
  await waitFor("the end of the connection", () => isClosed);
  await reserved?.close();
  const again = await ReservedPort.open(platform, { host: "127.0.0.1", port });
  let accepted = 0;
  const listener = await again.network.listen(again.endpoint, (socket) => {
    accepted += 1;
    socket.destroy();
  });
  await platform.network.connect({ host: "127.0.0.1", port }, 1000);
  await waitFor("the connection", () => accepted === 1);
  await listener.close();
});
