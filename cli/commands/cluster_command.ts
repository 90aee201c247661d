/**
 * `cstore cluster status`, `cstore cluster members` and `cstore cluster promote`.
 *
 * @module
 */

import { printDuration } from "../../src/base/units.ts";
import { parseAddresses } from "../../src/client/remote_database.ts";
import { type ClusterPicture, isHealthy, type MemberRow } from "../../src/cluster/cluster_view.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { durationOption, flagOption, type RawOptions, textOption } from "../options.ts";
import {
  colour,
  EXIT,
  ExitError,
  isTerminal,
  print,
  printJson,
  table,
  tell,
  UsageError,
} from "../output.ts";
import { viewCluster, withDatabase } from "./cluster_view.ts";

/** Default addresses of the nodes of `cstore dev`. */
export const DEFAULT_ADDRESSES = "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003";
const WATCH_MS = 1000;

/** The addresses to talk to. */
export function addressesOf(options: RawOptions): string {
  return textOption(options, "address") ?? DEFAULT_ADDRESSES;
}

/** Prints the cluster; exit code 5 when it has no leader or no quorum. */
export async function clusterStatus(options: RawOptions): Promise<void> {
  const addresses = parseAddresses(addressesOf(options));
  const timeoutMs = durationOption(options, "timeout", 2000);
  while (true) {
    const picture = await viewCluster(addresses, timeoutMs);
    if (flagOption(options, "json")) printJson(picture);
    else {
      printPicture(picture, {
        isWatching: flagOption(options, "watch"),
        isWide: flagOption(options, "wide"),
      });
    }
    if (!flagOption(options, "watch")) {
      if (!isHealthy(picture)) throw new ExitError(EXIT.unhealthy);
      return;
    }
    await sleep(systemClock, WATCH_MS);
  }
}

function printPicture(
  picture: ClusterPicture,
  { isWatching, isWide }: { readonly isWatching: boolean; readonly isWide: boolean },
): void {
  const { quorum, leader, hasQuorum } = picture;
  if (isWatching && isTerminal()) print("\x1b[H\x1b[2J");
  const margin = hasQuorum ? `${quorum.canLose} more can fail` : colour.red("no quorum");
  const head = leader === "" ? colour.red("no leader") : `leader ${colour.bold(leader)}`;
  print(`cluster ${picture.clusterId}  ${head}  term ${picture.term}  ${picture.syncMode}`);
  print(`quorum  ${quorum.reachable} of ${quorum.voters} voters reachable, ${margin}`);
  print();
  const columns = isWide ? [...STATUS_COLUMNS, ...WIDE_COLUMNS] : STATUS_COLUMNS;
  const rows = picture.members.map((member) => columns.map(([, cell]) => cell(member)));
  print(
    table(
      columns.map(([name]) => name),
      rows,
    ),
  );
  const streams = streamsOf(picture);
  if (streams.length > 0) print(`\n${table(["from \\ to", ...ids(picture), "writes"], streams)}`);
  for (const line of notesOf(picture)) print(`\n${line}`);
}

function ids({ members }: ClusterPicture): string[] {
  return members.map(({ id }) => id);
}

/**
 * Of collections that every node writes: for each node, how many of its operations each other one
 * lacks, and for how long.
 */
function streamsOf(picture: ClusterPicture): string[][] {
  return picture.members.flatMap(({ id, masters }) => {
    if (masters === null) return [];
    const cells = ids(picture).map((to) => {
      const stream = masters.streams.find((one) => one.to === to);
      if (stream === undefined) return "-";
      const { operations, lagMs, isUp } = stream;
      const behind = operations === 0 ? "0" : `${operations} (${printDuration(lagMs)})`;
      return isUp ? behind : `${behind} cut off`;
    });
    return [[id, ...cells, masters.state]];
  });
}

/** A column of the table: its name and a member's cell. */
type StatusColumn = readonly [name: string, cell: (member: MemberRow) => string];

/** They fit 80 characters with addresses of usual length. */
const STATUS_COLUMNS: readonly StatusColumn[] = [
  ["id", ({ id }) => id],
  ["address", ({ address }) => address],
  ["role", roleOf],
  ["state", ({ state }) => state],
  ["term", ({ term }) => text(term)],
  ["applied", ({ appliedIndex }) => text(appliedIndex)],
  ["lag", ({ lagBatches }) => text(lagBatches)],
  ["behind", ({ lagMs }) => (lagMs === null ? "-" : printDuration(lagMs))],
  ["rtt", ({ rttMs }) => (rttMs === null ? "-" : `${rttMs.toFixed(2)} ms`)],
];

/** The rest, with `--wide`. */
const WIDE_COLUMNS: readonly StatusColumn[] = [
  ["member", ({ membership }) => membership],
  ["commit", ({ commitIndex }) => text(commitIndex)],
  ["pid", ({ pid }) => text(pid)],
  ["version", ({ version }) => version ?? "-"],
  ["changes", ({ leaderChanges }) => text(leaderChanges)],
];

/** What a voter does; of others what they are. */
function roleOf({ role, membership }: MemberRow): string {
  return membership === "voter" && role !== "unknown" ? role : membership;
}

/** A shorter wait is not worth a note. */
const LONG_WAIT_MS = 1000;

/** Notes for the operator beside the table. */
function notesOf({ isJoint, members }: ClusterPicture): string[] {
  const notes = members.flatMap((m) => [
    ...(isWaiting(m) ? [`${m.id}: ${m.caughtUpPercent ?? 0} % caught up, ${m.waitsFor}`] : []),
    ...patienceOf(m),
    ...(m.isRestoring === true ? [`${m.id} reads a snapshot in: no reads there meanwhile`] : []),
    ...m.alarms.map(({ kind, detail }) => colour.red(`alarm on ${m.id}: ${kind}: ${detail}`)),
  ]);
  return isJoint ? [...notes, "a change of the voters is under way"] : notes;
}

/** Says why a member waits long for a silent leader. */
function patienceOf({ id, electionMs, electionReason }: MemberRow): string[] {
  if (electionMs === null || electionMs < LONG_WAIT_MS || electionReason === "configured")
    return [];
  return [`${id} gives a silent leader ${printDuration(electionMs)}: ${electionReason}`];
}

/** A standby that has everything waits for nothing. */
function isWaiting({ waitsFor, membership, caughtUpPercent, state }: MemberRow): boolean {
  if (waitsFor === null) return false;
  return membership !== "standby" || caughtUpPercent !== 100 || state !== "healthy";
}

/** Prints the members, as the leader knows them. */
export async function clusterMembers(options: RawOptions): Promise<void> {
  const timeoutMs = durationOption(options, "timeout", 2000);
  const picture = await viewCluster(parseAddresses(addressesOf(options)), timeoutMs);
  const { clusterId, leader, isJoint } = picture;
  const members = picture.members.map(({ id, address, membership }) => ({
    id,
    address,
    membership,
  }));
  if (flagOption(options, "json")) {
    printJson({ clusterId, leader, isJoint, members });
    return;
  }
  const rows = members.map(({ id, address, membership }) => [id, address, membership]);
  print(table(["id", "address", "member"], rows));
}

function text(value: number | null): string {
  return value === null ? "-" : String(value);
}

/** Makes a node the leader and says how long no write was acknowledged. */
export async function clusterPromote(
  nodeId: string | undefined,
  options: RawOptions,
): Promise<void> {
  if (nodeId === undefined || nodeId === "") {
    throw new UsageError("Name the node to promote", "For example: cstore cluster promote n2");
  }
  const timeoutMs = durationOption(options, "timeout", 5000);
  const result = await withDatabase(addressesOf(options), timeoutMs, (database) =>
    database.promote(nodeId),
  );
  if (flagOption(options, "json")) {
    printJson(result);
    return;
  }
  if (result.from === result.to) tell(`${nodeId} leads already`);
  const { from, to, term, stalledMs } = result;
  const change = from === "" ? to : `${from} -> ${to}`;
  print(`leader ${change}, term ${term}, no write acknowledged for ${printDuration(stalledMs)}`);
}
