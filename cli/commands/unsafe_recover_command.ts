/**
 * `cstore cluster unsafe-recover`: what the survivors of a lost quorum hold, and a new cluster from
 * the one that has the most.
 *
 * @module
 */

import { ConfigError } from "../../src/base/errors.ts";
import {
  inspectSurvivor,
  recoverAsNewCluster,
  type SurvivorReport,
} from "../../src/node/recovery/unsafe_recover.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { flagOption, type RawOptions } from "../options.ts";
import { colour, print, printJson, table, UsageError } from "../output.ts";

/** Shows what would be kept and lost; does it with `--yes`. */
export async function clusterUnsafeRecover(
  directories: readonly string[],
  options: RawOptions,
): Promise<void> {
  if (directories.length === 0) {
    throw new UsageError(
      "Name the data folders of the nodes that are left",
      "For example: cstore cluster unsafe-recover ./n2 ./n3",
    );
  }
  const platform = systemPlatform();
  const survivors: SurvivorReport[] = [];
  for (const path of directories) survivors.push(await inspectSurvivor(platform, path));
  checkSurvivors(survivors);
  const [best] = [...survivors].sort(byMost);
  if (best === undefined) throw new RangeError("there is at least one survivor");
  const missing = missingVoters(survivors, best);
  const json = flagOption(options, "json");
  if (!json) printReport(survivors, best, missing);
  const refusal = refusalFor(survivors, best);
  if (refusal !== undefined) throw refusal;
  const made = flagOption(options, "yes") ? await recoverAsNewCluster(platform, best.path) : null;
  if (json) {
    printJson({ survivors, best: best.path, missingVoters: missing, recovered: made });
    return;
  }
  print();
  if (made === null) {
    const again = ["cstore cluster unsafe-recover", ...directories, "--yes"].join(" ");
    print(`nothing was recovered; to do this: ${again}`);
    return;
  }
  const address = best.members.find(({ id }) => id === best.nodeId)?.address ?? "HOST:PORT";
  print(`cluster ${made.clusterId} begins in ${best.path}; the old folder is ${made.keptAs}`);
  if (missing.length > 0) {
    const ids = missing.map(({ id }) => id).join(", ");
    print(`Never start ${ids} with their old folders again: enough of them are the old cluster.`);
  }
  print(`Versions of new writes begin at ${made.nextSequence}.`);
  print(`Start it:      cstore node --data ${best.path}`);
  print(`Let others in: empty folder, then cstore node --join ${address} --listen HOST:PORT`);
}

/** Puts the survivor first whose log is ahead as an election would see it. */
function byMost(a: SurvivorReport, b: SurvivorReport): number {
  return b.lastTerm - a.lastTerm || b.lastIndex - a.lastIndex;
}

function checkSurvivors(survivors: readonly SurvivorReport[]): void {
  const [first] = survivors;
  for (const [at, { path, nodeId, clusterId }] of survivors.entries()) {
    if (clusterId !== first?.clusterId) {
      throw new ConfigError(
        `Cannot recover from both: "${first?.path}" belongs to cluster ${first?.clusterId}, "${path}" to ${clusterId}`,
        { remedy: "Name folders of one cluster" },
      );
    }
    const twin = survivors.slice(0, at).find((other) => other.nodeId === nodeId);
    if (twin === undefined) continue;
    throw new ConfigError(
      `Cannot recover from both: "${twin.path}" and "${path}" belong to node "${nodeId}"`,
      { remedy: "Name each node's own folder once, and no copies" },
    );
  }
}

/** Why nothing may be recovered; undefined when it may. */
function refusalFor(
  survivors: readonly SurvivorReport[],
  best: SurvivorReport,
): ConfigError | undefined {
  const isHere = (id: string): boolean => survivors.some(({ nodeId }) => nodeId === id);
  const isQuorum = (["incoming", "outgoing"] as const).every((also) => {
    const voters = best.members.filter(({ role }) => role === "voter" || role === also);
    return voters.filter(({ id }) => isHere(id)).length * 2 > voters.length;
  });
  if (isQuorum) {
    return new ConfigError("Cannot recover: a majority of the voters is here, nothing is lost", {
      remedy: "Start these nodes: they elect a leader by themselves",
    });
  }
  if (best.members.some(({ id }) => id === best.nodeId)) return undefined;
  return new ConfigError(`Cannot recover from "${best.path}": "${best.nodeId}" is no member`, {
    remedy: "Name the folders of members: this node was removed, or never got the log",
  });
}

/** Voters of the best survivor's configuration whose folder was not named. */
function missingVoters(
  survivors: readonly SurvivorReport[],
  best: SurvivorReport,
): { readonly id: string; readonly address: string }[] {
  return best.members
    .filter(({ role }) => role === "voter" || role === "incoming" || role === "outgoing")
    .filter(({ id }) => !survivors.some(({ nodeId }) => nodeId === id))
    .map(({ id, address }) => ({ id, address }));
}

function printReport(
  survivors: readonly SurvivorReport[],
  best: SurvivorReport,
  missing: readonly { readonly id: string; readonly address: string }[],
): void {
  const columns = ["folder", "node", "term", "last entry", "known committed", "snapshot", "unsure"];
  const rows = survivors.map((s) => [
    s.path,
    s.nodeId,
    `${s.lastTerm}`,
    `${s.lastIndex}`,
    `${s.commitIndex}`,
    `${s.snapshotIndex}`,
    unsureOf(s),
  ]);
  print(table(columns, rows));
  print();
  print(`best     ${colour.bold(best.nodeId)} in ${best.path}: the highest last term, then entry`);
  const who = missing.map(({ id, address }) => `${id} (${address})`).join(", ");
  print(`missing  ${who === "" ? "no voter" : who}`);
  if (who !== "") {
    print("lost     writes that only missing voters had on disk, answered or not:");
    print(`         everything behind entry ${best.lastIndex} of ${best.nodeId}`);
  }
  if (best.uncommittedEntries === 0) return;
  print(`unsure   ${unsureOf(best)} behind entry ${best.commitIndex}:`);
  print(
    "         perhaps never answered, perhaps replaced by others; they are kept as if answered",
  );
}

function unsureOf(survivor: SurvivorReport): string {
  const { uncommittedEntries: entries, uncommittedOperations: operations } = survivor;
  return `${counted(operations, "operation", "operations")} in ${counted(entries, "entry", "entries")}`;
}

function counted(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}
