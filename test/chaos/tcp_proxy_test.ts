/**
 * The proxy by itself: whole connections, and each fault in one direction.
 *
 * @module
 */

import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import * as net from "node:net";
import { encodeFrame } from "../../src/protocol/wire/frame_header.ts";
import { encodeHello, type Hello } from "../../src/protocol/wire/handshake.ts";
import { waitFor } from "../node/test_cluster.ts";
import { LinkFaults } from "./link_faults.ts";
import { TcpProxy } from "./tcp_proxy.ts";

/** One end of a connection, and what became of it. */
interface End {
  readonly socket: net.Socket;
  text: string;
  isClosed: boolean;
}

function watch(socket: net.Socket): End {
  const end: End = { socket, text: "", isClosed: false };
  socket.on("data", (chunk) => {
    end.text += chunk.toString("latin1");
  });
  socket.on("error", () => socket.destroy());
  socket.on("close", () => {
    end.isClosed = true;
  });
  return end;
}

function hello(role: Hello["role"], nodeId: string): Uint8Array {
  const texts = {
    address: "",
    clusterId: "",
    expects: "",
    incarnation: "",
    bootId: "",
    version: "",
  };
  const rest = { role, nodeId, term: 0, isLeader: false, features: [] };
  return encodeFrame("HELLO", 0, encodeHello({ ...texts, ...rest }));
}

let links: LinkFaults;
let proxy: TcpProxy;
let server: net.Server;
let accepted: End[];

beforeEach(async () => {
  accepted = [];
  server = net.createServer((socket) => void accepted.push(watch(socket)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  links = new LinkFaults();
  proxy = new TcpProxy("n1", links);
  await proxy.reserve();
  await proxy.attach((server.address() as net.AddressInfo).port);
});

afterEach(async () => {
  await proxy.close();
  for (const { socket } of accepted) socket.destroy();
  server.close();
});

/** Dials through the proxy as n2; resolves when the node has the whole greeting. */
async function dial(greeting = hello("peer", "n2")): Promise<{ near: End; far: End }> {
  const port = Number(proxy.address.split(":")[1]);
  const near = watch(net.connect({ host: "127.0.0.1", port }));
  const at = accepted.length;
  near.socket.write(greeting);
  const far = await waitFor("the connection", () => accepted[at]);
  await waitFor("the greeting", () => far.text.length === greeting.byteLength);
  far.text = "";
  return { near, far };
}

/** Sends a text there and back, after which everything sent before it has arrived, too. */
async function exchange({ near, far }: { near: End; far: End }, text: string): Promise<void> {
  near.socket.write(text);
  await waitFor(`${text} there`, () => far.text.endsWith(text));
  far.socket.write(text);
  await waitFor(`${text} back`, () => near.text.endsWith(text));
}

describe("proxy", () => {
  test("bytes pass in both directions, and the end of a connection, too", async () => {
    const { near, far } = await dial();
    await exchange({ near, far }, "ping");
    near.socket.end();
    await waitFor("the end", () => far.isClosed);
    await waitFor("nothing left", () => proxy.connectionCount === 0);
  });

  test("a greeting in pieces is passed on whole", async () => {
    const greeting = hello("client", "");
    const port = Number(proxy.address.split(":")[1]);
    const near = watch(net.connect({ host: "127.0.0.1", port }));
    near.socket.setNoDelay(true);
    for (const byte of greeting) {
      near.socket.write(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await waitFor("the greeting", () => accepted[0]?.text.length === greeting.byteLength);
    expect(Buffer.from(accepted[0]?.text ?? "", "latin1")).toEqual(Buffer.from(greeting));
    near.socket.destroy();
  });

  test("a large transfer arrives whole when the reader is slow", async () => {
    const { near, far } = await dial();
    far.socket.pause();
    const size = 24 * 1024 * 1024;
    near.socket.write(Buffer.alloc(size, "x"));
    far.socket.resume();
    await waitFor("all bytes", () => far.text.length === size);
  });

  test("cut: the connections that one side dials are reset, the other's are not", async () => {
    const cut = await dial();
    const other = await dial(hello("peer", "n3"));
    const heal = links.begin({ kind: "cut", from: "n2", to: "n1" });
    await waitFor("the reset", () => cut.near.isClosed && cut.far.isClosed);
    await exchange(other, "still there");
    const port = Number(proxy.address.split(":")[1]);
    const refused = watch(net.connect({ host: "127.0.0.1", port }));
    refused.socket.write(hello("peer", "n2"));
    await waitFor("the refusal", () => refused.isClosed);
    expect(accepted).toHaveLength(2);
    heal();
    await exchange(await dial(), "healed");
  });

  test("black hole: nothing arrives in one direction, the other goes on", async () => {
    const { near, far } = await dial();
    const heal = links.begin({ kind: "blackHole", from: "n2", to: "n1" });
    near.socket.write("lost?");
    far.socket.write("heard");
    await waitFor("the other direction", () => near.text === "heard");
    // What was written first would have arrived first.
    await exchange(await dial(hello("peer", "n3")), "others");
    expect(far.text).toBe("");
    near.socket.end();
    await waitFor("its own end", () => near.isClosed);
    expect(far.isClosed).toBe(false);
    heal();
    await waitFor("what was held", () => far.text === "lost?" && far.isClosed);
  });

  test("black hole with a reset: what was held never arrives", async () => {
    const { near, far } = await dial();
    const heal = links.begin({ kind: "blackHole", from: "n1", to: "n2", resets: true });
    far.socket.write("lost");
    await exchange(await dial(hello("peer", "n3")), "others");
    heal();
    await waitFor("the reset", () => near.isClosed && far.isClosed);
    expect(near.text).toBe("");
  });

  test("delay: bytes arrive later than those of others, and keep their order", async () => {
    const { near, far } = await dial();
    const heal = links.begin({ kind: "delay", from: "n2", to: "n1", delayMs: 1000 });
    near.socket.write("first ");
    // The answer shows that the proxy has the first write already.
    await exchange(await dial(hello("peer", "n3")), "others");
    expect(far.text).toBe("");
    heal();
    near.socket.write("second");
    await waitFor("both", () => far.text.length === 12);
    expect(far.text).toBe("first second");
  });

  test("half open: one side is ended, the other is not told until the fault is over", async () => {
    const { near, far } = await dial();
    const heal = links.begin({ kind: "halfOpen", from: "n2", to: "n1" });
    await waitFor("the end at the node", () => far.isClosed);
    near.socket.write("into the void");
    await exchange(await dial(), "a new connection works");
    expect(near.isClosed).toBe(false);
    heal();
    await waitFor("the end at the dialler", () => near.isClosed);
  });

  test("half open, the other way: the dialler is ended, the node is not told", async () => {
    const { near, far } = await dial();
    const heal = links.begin({ kind: "halfOpen", from: "n1", to: "n2" });
    await waitFor("the end at the dialler", () => near.isClosed);
    await exchange(await dial(), "a new connection works");
    expect(far.isClosed).toBe(false);
    heal();
    await waitFor("the end at the node", () => far.isClosed);
  });

  test("without a node dials are refused; with the next one they pass again", async () => {
    const { near } = await dial();
    await proxy.detach();
    await exchange({ near, far: accepted[0]! }, "open connections stay");
    const port = Number(proxy.address.split(":")[1]);
    const code = await new Promise((resolve) => {
      const socket = net.connect({ host: "127.0.0.1", port });
      socket.on("error", (error) => resolve("code" in error ? error.code : error));
      socket.on("connect", () => resolve("connected"));
    });
    expect(code).toBe("ECONNREFUSED");
    await proxy.attach((server.address() as net.AddressInfo).port);
    await exchange(await dial(), "back");
  });
});
