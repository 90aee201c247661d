/**
 * etcd: three nodes as they come, driven at the leader through its gRPC interface.
 *
 * @module
 */

import { freePorts } from "../../cli/local/local_cluster.ts";
import type { NodeProcess } from "../../cli/local/node_process.ts";
import { encodeText } from "../../src/base/bytes.ts";
import { GrpcConnection } from "./grpc_connection.ts";
import { type PeerClient, type PeerMode, type RunningPeer, randomKey, VALUE } from "./peer_load.ts";
import { PeerProcesses, requireProgram } from "./peer_process.ts";

const NAMES = ["e1", "e2", "e3"] as const;
const PUT = "/etcdserverpb.KV/Put";
/** That of cstore's client. */
const DEADLINE_MS = 30_000;
const QUOTA_BYTES = 8 * 1024 ** 3;

/** Three nodes that run, with a leader. */
export interface EtcdNodes {
  readonly clientPorts: readonly number[];
  /** Ends the node of that client port as a power cut does, and starts it again. */
  kill(clientPort: number): Promise<void>;
  restart(clientPort: number): void;
  stop(): Promise<void>;
}

/**
 * Starts the three nodes under `directory`.
 *
 * @param reachedAt where the others reach the node that listens for them at a port; there.
 */
export async function startEtcdNodes(
  directory: string,
  reachedAt = (port: number): Promise<number> => Promise.resolve(port),
): Promise<EtcdNodes> {
  requireProgram("etcd", "etcd", "apt-get install etcd-server");
  const ports = await freePorts(6);
  const clientPorts = ports.slice(0, 3);
  const urlOf = (port: number): string => `http://127.0.0.1:${port}`;
  const advertised = await Promise.all(ports.slice(3).map(reachedAt));
  const cluster = NAMES.map((name, i) => `${name}=${urlOf(advertised[i] ?? 0)}`).join(",");
  const processes = new PeerProcesses();
  const running = new Map<number, NodeProcess>();
  const start = (clientPort: number): void => {
    const at = clientPorts.indexOf(clientPort);
    const [name, client] = [NAMES[at] ?? "", urlOf(clientPort)];
    const child = processes.start("etcd", [
      ...["--name", name, "--data-dir", `${directory}/etcd-${name}`, "--log-level", "error"],
      ...["--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", urlOf(ports[at + 3] ?? 0)],
      ...["--initial-advertise-peer-urls", urlOf(advertised[at] ?? 0)],
      ...["--initial-cluster", cluster, "--initial-cluster-state", "new"],
      ...["--quota-backend-bytes", String(QUOTA_BYTES)],
    ]);
    running.set(clientPort, child);
  };
  try {
    for (const port of clientPorts) start(port);
    await processes.waitUntil("etcd with a leader", async () => {
      return (await findEtcdLeader(clientPorts)) !== 0;
    });
  } catch (error) {
    await processes.stop();
    throw error;
  }
  const kill = (port: number): Promise<void> => processes.kill(running.get(port));
  return { clientPorts, kill, restart: start, stop: () => processes.stop() };
}

/** Starts the three nodes, to be driven at the leader. */
export async function startEtcd(directory: string): Promise<RunningPeer> {
  const nodes = await startEtcdNodes(directory);
  const leader = await findEtcdLeader(nodes.clientPorts);
  return {
    name: "etcd",
    modes: (inFlight) => [modeFor(leader, inFlight)],
    stop: () => nodes.stop(),
  };
}

/** Port of the leader; 0 while there is none. A node that does not answer is none. */
export async function findEtcdLeader(ports: readonly number[]): Promise<number> {
  for (const port of ports) {
    const status = await askEtcd(port, "maintenance/status", {}).catch(() => ({}));
    const { header, leader } = status as { header?: { member_id?: string }; leader?: string };
    const id = header?.member_id;
    if (id !== undefined && id === leader) return port;
  }
  return 0;
}

/** Asks a node through its JSON gateway. Throws RangeError when it refuses. */
export async function askEtcd(
  ...[port, path, body, timeoutMs = DEADLINE_MS]: [
    port: number | undefined,
    path: string,
    body: object,
    timeoutMs?: number,
  ]
): Promise<unknown> {
  const signal = AbortSignal.timeout(timeoutMs);
  const request = { method: "POST", body: JSON.stringify(body), signal };
  const reply = await fetch(`http://127.0.0.1:${port}/v3/${path}`, request);
  if (!reply.ok) throw new RangeError(`etcd answered ${reply.status}`);
  return reply.json();
}

/** The greatest term of the nodes that answer. */
export async function etcdTerm(ports: readonly number[]): Promise<number> {
  const terms = ports.map(async (port) => {
    const status = await askEtcd(port, "maintenance/status", {}).catch(() => ({}));
    return Number((status as { raftTerm?: string }).raftTerm ?? 0);
  });
  return Math.max(...(await Promise.all(terms)));
}

/** Keys and values of the gateway. */
export function base64(value: string): string {
  return Buffer.from(value).toString("base64");
}

function modeFor(port: number, inFlight: number): PeerMode {
  const connections = Math.max(1, Math.min(16, inFlight / 16, Math.ceil(Math.sqrt(inFlight) / 2)));
  const count = Math.ceil(connections);
  const setting = `gRPC Put at the leader over ${count} connection${count === 1 ? "" : "s"}`;
  return { setting, open: () => openClient(port, { slots: inFlight, connections: count }) };
}

async function openClient(
  port: number,
  shape: { readonly slots: number; readonly connections: number },
): Promise<PeerClient> {
  const connections: GrpcConnection[] = [];
  for (let i = 0; i < shape.connections; i += 1) {
    connections.push(await GrpcConnection.open(port, PUT));
  }
  return {
    slots: shape.slots,
    group: 1,
    put: (slot, done) => connections[slot % connections.length]?.call(putMessage(), done),
    close() {
      for (const connection of connections) connection.close();
    },
  };
}

const VALUE_FIELD = Uint8Array.from([0x12, 0x80, 0x01, ...encodeText(VALUE)]);

/** PutRequest: key = 1, value = 2; the value has 128 bytes, a length of two bytes. */
function putMessage(): Uint8Array {
  const key = encodeText(randomKey());
  const message = new Uint8Array(2 + key.byteLength + VALUE_FIELD.byteLength);
  message[0] = 0x0a;
  message[1] = key.byteLength;
  message.set(key, 2);
  message.set(VALUE_FIELD, 2 + key.byteLength);
  return message;
}
