/**
 * Round trip of a PING frame over loopback TCP, between this process and a running node.
 *
 * @module
 */

import { LocalCluster } from "../../cli/local/local_cluster.ts";
import { parseEndpoint } from "../../src/base/address.ts";
import { TcpChannel } from "../../src/client/connection/node_channel.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { type MicroGroup, type MicroTask, runMicro } from "./micro_runner.ts";

const QUIET = {
  up: () => {},
  down: () => {},
  leader: () => {},
  replies: () => {},
  failed: () => {},
  cluster: () => "",
  joined: () => {},
};

/** A connection whose handshake is done. */
export async function openChannel(address: string): Promise<TcpChannel> {
  return new Promise((resolve) => {
    const node = { address, endpoint: parseEndpoint(address) };
    const up = (): void => resolve(channel);
    const channel: TcpChannel = new TcpChannel(node, systemPlatform(), { ...QUIET, up });
  });
}

function pinging(channel: TcpChannel, together: number): MicroTask {
  return {
    name: `PING frame round trip, ${together} in flight`,
    operations: together,
    ...(together === 1 ? { target: { medianMicrosecondsMax: 100 } } : {}),
    run: async () => {
      if (together === 1) await channel.ping();
      else await Promise.all(Array.from({ length: together }, () => channel.ping()));
    },
  };
}

/** Two processes, one connection. */
export const MESSAGE_LATENCY_BENCH: MicroGroup = {
  name: "ping",
  async open(directory) {
    const cluster = await LocalCluster.start({ nodes: 1, data: directory });
    const channel = await openChannel(cluster.addresses);
    await sleep(systemClock, 200);
    return {
      tasks: [pinging(channel, 1), pinging(channel, 16)],
      async close() {
        channel.close();
        await cluster.stop();
      },
    };
  },
};

if (import.meta.main) await runMicro([MESSAGE_LATENCY_BENCH]);
