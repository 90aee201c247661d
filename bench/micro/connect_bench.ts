/**
 * From dialling a node to a finished handshake, and to the answer to a client's first request.
 *
 * @module
 */

import { LocalCluster } from "../../cli/local/local_cluster.ts";
import { connect } from "../../src/mod.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { openChannel } from "./message_latency_bench.ts";
import { type MicroGroup, runMicro } from "./micro_runner.ts";

/** New connections to a running node, one after the other. */
export const CONNECT_BENCH: MicroGroup = {
  name: "connect",
  async open(directory) {
    const cluster = await LocalCluster.start({ nodes: 1, data: directory });
    const address = cluster.addresses;
    await sleep(systemClock, 200);
    return {
      tasks: [
        {
          name: "dial to finished handshake",
          operations: 1,
          run: async () => (await openChannel(address)).close(),
        },
        {
          name: "client from dial to its first answer",
          operations: 1,
          run: async () => {
            const database = await connect(address);
            await database.status();
            await database.close();
          },
        },
      ],
      close: () => cluster.stop(),
    };
  },
};

if (import.meta.main) await runMicro([CONNECT_BENCH]);
