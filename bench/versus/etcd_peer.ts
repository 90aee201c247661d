/**
 * etcd: three nodes as they come, driven at the leader through its gRPC interface.
 *
 * @module
 */

import { freePorts } from "../../cli/local/local_cluster.ts";
import { encodeText } from "../../src/base/bytes.ts";
import { GrpcConnection } from "./grpc_connection.ts";
import { type PeerClient, type PeerMode, type RunningPeer, randomKey, VALUE } from "./peer_load.ts";
import { PeerProcesses, requireProgram } from "./peer_process.ts";

const NAMES = ["e1", "e2", "e3"] as const;
const PUT = "/etcdserverpb.KV/Put";
const QUOTA_BYTES = 8 * 1024 ** 3;

/** Three nodes that run, with a leader. */
export interface EtcdNodes {
  readonly clientPorts: readonly number[];
  stop(): Promise<void>;
}

/** Starts the three nodes under `directory`. */
export async function startEtcdNodes(directory: string): Promise<EtcdNodes> {
  requireProgram("etcd", "etcd", "apt-get install etcd-server");
  const ports = await freePorts(6);
  const clientPorts = ports.slice(0, 3);
  const urls = ports.map((port) => `http://127.0.0.1:${port}`);
  const cluster = NAMES.map((name, i) => `${name}=${urls[i + 3]}`).join(",");
  const processes = new PeerProcesses();
  try {
    for (const [i, name] of NAMES.entries()) {
      const client = urls[i] ?? "";
      const peer = urls[i + 3] ?? "";
      processes.start("etcd", [
        ...["--name", name, "--data-dir", `${directory}/etcd-${name}`, "--log-level", "error"],
        ...["--listen-client-urls", client, "--advertise-client-urls", client],
        ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
        ...["--initial-cluster", cluster, "--initial-cluster-state", "new"],
        ...["--quota-backend-bytes", String(QUOTA_BYTES)],
      ]);
    }
    await processes.waitUntil("etcd with a leader", async () => {
      return (await findLeader(clientPorts)) !== 0;
    });
  } catch (error) {
    await processes.stop();
    throw error;
  }
  return { clientPorts, stop: () => processes.stop() };
}

/** Starts the three nodes, to be driven at the leader. */
export async function startEtcd(directory: string): Promise<RunningPeer> {
  const nodes = await startEtcdNodes(directory);
  const leader = await findLeader(nodes.clientPorts);
  return {
    name: "etcd",
    modes: (inFlight) => [modeFor(leader, inFlight)],
    stop: () => nodes.stop(),
  };
}

/** Port of the leader; 0 while there is none. */
async function findLeader(ports: readonly number[]): Promise<number> {
  for (const port of ports) {
    const url = `http://127.0.0.1:${port}/v3/maintenance/status`;
    const reply = await fetch(url, { method: "POST", body: "{}" });
    const status = (await reply.json()) as { header?: { member_id?: string }; leader?: string };
    const id = status.header?.member_id;
    if (id !== undefined && id === status.leader) return port;
  }
  return 0;
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
