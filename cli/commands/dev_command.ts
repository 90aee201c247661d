/**
 * `cstore dev`: a cluster of processes on this machine, until Ctrl-C.
 *
 * @module
 */

import { isHealthy } from "../../src/cluster/cluster_view.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { onStopSignal } from "../../src/platform/process.ts";
import { LocalCluster, STOP_SIGNALS } from "../local/local_cluster.ts";
import { numberOption, type RawOptions, textOption } from "../options.ts";
import { colour, isTerminal, live, print, tell } from "../output.ts";
import { typedCommand } from "../typed_command.ts";
import { DEFAULT_ADDRESSES } from "./cluster_command.ts";
import { viewCluster } from "./cluster_view.ts";

const DEFAULT_PORT = 7001;
const STATUS_MS = 1000;
/** The smallest cluster that goes on without one of its nodes. */
const MORTAL_NODES = 3;

/** Runs until a signal. */
export async function runDev(options: RawOptions): Promise<void> {
  const nodes = numberOption(options, "nodes", { min: 1, max: 9, fallback: 3 });
  const port = numberOption(options, "port", { min: 1, max: 65_000, fallback: DEFAULT_PORT });
  const data = textOption(options, "data");
  let isStopping = false;
  const stopped = new Promise<void>((resolve) => {
    onStopSignal(() => {
      isStopping = true;
      resolve();
    }, STOP_SIGNALS);
  });
  const cluster = await LocalCluster.start({
    nodes,
    port,
    data,
    onExit: (node, how) => {
      if (!isStopping)
        tell(
          `\n${node.id} ended with ${typeof how === "number" ? "code " : ""}${how ?? "(unknown)"}`,
        );
    },
  });
  try {
    await printGuide(cluster, data !== undefined);
    while (!isStopping) {
      await showStatus(cluster);
      await Promise.race([sleep(systemClock, STATUS_MS), stopped]);
    }
    print(
      `\nstopping${data === undefined ? ` and removing ${cluster.data}` : `; data stay in ${data}`}`,
    );
  } finally {
    isStopping = true;
    await cluster.stop();
  }
}

async function printGuide(cluster: LocalCluster, isKept: boolean): Promise<void> {
  const isDefault = cluster.addresses === DEFAULT_ADDRESSES;
  const suffix = isDefault ? "" : ` --address ${cluster.addresses}`;
  for (const node of cluster.nodes) {
    print(
      `${colour.bold(node.id)}  ${node.address}  process ${node.process?.pid ?? "-"}  ${node.dataDirectory}`,
    );
  }
  const cstore = typedCommand();
  const leader = await cluster.waitForLeader();
  const other = cluster.nodes.find((node) => node !== leader);
  print();
  print("Try, in another terminal in this folder:");
  print(`  ${cstore} doc put users '{"id":"u1","name":"Ada"}'${suffix}`);
  print(`  ${cstore} cluster status${suffix}`);
  if (cluster.nodes.length >= MORTAL_NODES) {
    print(`  kill -9 ${leader.process?.pid}        # the leader, ${leader.id}`);
    print(`  ${cstore} doc get users u1${suffix}`);
  }
  if (other !== undefined) print(`  ${cstore} cluster promote ${other.id}${suffix}`);
  print();
  print(`Ctrl-C stops the nodes${isKept ? "" : " and removes their data"}.`);
}

async function showStatus(cluster: LocalCluster): Promise<void> {
  const running = cluster.nodes.filter((node) => node.process !== undefined);
  const addresses = running.map((node) => node.address);
  if (addresses.length === 0) {
    live("no node runs");
    return;
  }
  const picture = await viewCluster(addresses, 500).catch(() => undefined);
  if (picture === undefined) {
    live("no node answers");
    return;
  }
  const { quorum, leader, term, members } = picture;
  const commit = Math.max(...members.map((member) => member.commitIndex ?? 0));
  const health = isHealthy(picture) ? colour.green("healthy") : colour.red("unhealthy");
  const line = `${health}  leader ${leader || "-"}  term ${term}  commit ${commit}  ${quorum.reachable} of ${quorum.voters} voters`;
  if (isTerminal()) live(line);
}
