/**
 * `cstore node`: one node in the foreground.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { configure, getConsoleSink, jsonLinesFormatter, type Sink } from "@logtape/logtape";
import { parse as parseToml } from "smol-toml";
import { writeEndpoint } from "../../src/base/address.ts";
import {
  ConfigError,
  type CStoreError,
  LockedError,
  MembershipError,
} from "../../src/base/errors.ts";
import { Node, type NodeConfig, type NodeOptions, parseNodeConfig } from "../../src/mod.ts";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { systemFileSystem } from "../../src/platform/file_system.ts";
import { systemPlatform } from "../../src/platform/platform.ts";
import { detachFromOutput, exit, onStopSignal, processId } from "../../src/platform/process.ts";
import { randomId, systemRandom } from "../../src/platform/random.ts";
import { readIdentity } from "../../src/storage/data_directory.ts";
import { conflictOption, modeOption } from "../mode_options.ts";
import {
  choiceOption,
  DEFAULT_DATA,
  durationOption,
  FILE_VALUES,
  flagOption,
  listOption,
  originOf,
  parseMembers,
  type RawOptions,
  requiredOption,
  sizeOption,
  textOption,
} from "../options.ts";
import { EXIT, isTerminal, printJson, reportError, tell, UsageError } from "../output.ts";

/** Runs until a signal or a failure ends it. */
export async function runNode(options: RawOptions): Promise<never> {
  detachFromOutput();
  const merged: RawOptions = {
    ...options,
    [FILE_VALUES]: readConfigFile(textOption(options, "config")),
  };
  const resolvers = await loadResolvers(textOption(merged, "resolvers"));
  const config = parseNodeConfig({ ...nodeOptionsOf(merged), resolvers });
  if (flagOption(merged, "printConfig")) {
    const origins = FILE_KEYS.map((name) => [name, originOf(merged, name)]);
    printJson({ ...config, origins: Object.fromEntries(origins) });
    exit(EXIT.ok);
  }
  await startLogging(choiceOption(merged, "logLevel", { allowed: LEVELS, fallback: "warning" }));
  let isStopping = false;
  if (isJoining(config)) tell(`joining through ${config.join.join(", ")} as ${config.id}`);
  const node = await openNode(config);
  const stop = (): void => {
    if (isStopping) exit(EXIT.interrupted);
    isStopping = true;
    node.stop().then(
      () => exit(EXIT.ok),
      (error: unknown) => exit(reportError(error, false)),
    );
  };
  onStopSignal(stop);
  const { endpoint } = node.network ?? {};
  tell(
    `node ${config.id} listens on ${endpoint === undefined ? "-" : writeEndpoint(endpoint)}, cluster ${node.clusterId}, process ${processId()}, data in ${config.dataDirectory}`,
  );
  if (config.syncMode === "ASYNC")
    tell(
      "syncMode is ASYNC: writes are answered when they are on the leader's disk; a failover may lose them",
    );
  return new Promise<never>(() => undefined);
}

/** The system may still be taking down a killed process that held the folder. */
async function openWhenFree(config: NodeConfig): Promise<Node> {
  const endMs = systemClock.nowMs() + LOCK_WAIT_MS;
  while (true) {
    try {
      return await Node.open(systemPlatform(), config, {
        onFatal: (error: CStoreError) => exit(reportError(error, false)),
      });
    } catch (error) {
      if (!(error instanceof LockedError) || systemClock.nowMs() >= endMs) throw error;
      await sleep(systemClock, LOCK_POLL_MS);
    }
  }
}

async function openNode(config: NodeConfig): Promise<Node> {
  try {
    return await openWhenFree(config);
  } catch (error) {
    // A leader of an older build sends a refusal without its remedy.
    if (!(error instanceof MembershipError) || error.remedy !== undefined) throw error;
    throw new MembershipError(error.message, {
      cause: error,
      remedy: `Choose another --id; if the folder of "${config.id}" is lost: cstore cluster recover ${config.id}`,
    });
  }
}

/** Whether the node must be admitted by the cluster first: the folder is empty. */
function isJoining({ join, dataDirectory }: NodeConfig): boolean {
  return join.length > 0 && readIdentity(systemFileSystem, dataDirectory) === undefined;
}

const LOCK_WAIT_MS = 3000;
const LOCK_POLL_MS = 50;

const LEVELS = ["debug", "info", "warning", "error", "fatal"] as const;

async function startLogging(level: (typeof LEVELS)[number]): Promise<void> {
  const print = isTerminal() ? getConsoleSink() : getConsoleSink({ formatter: jsonLinesFormatter });
  // A log that cannot be written - its disk is full - must not end the node.
  const sink: Sink = (record) => {
    try {
      print(record);
    } catch {
      // The next record may find room again.
    }
  };
  await configure({
    sinks: { console: sink },
    loggers: [
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["console"] },
      { category: ["cstore"], lowestLevel: level, sinks: ["console"] },
    ],
  });
}

/** Options that a node is started with: the given ones, and those that its folder knows already. */
function nodeOptionsOf(options: RawOptions): NodeOptions {
  const dataDirectory = textOption(options, "data") ?? DEFAULT_DATA;
  const known = readIdentity(systemFileSystem, dataDirectory);
  const cluster = textOption(options, "cluster");
  const members = cluster === undefined ? [] : parseMembers(cluster);
  const join = listOption(options, "join");
  const isStandby = flagOption(options, "standby");
  checkOrigin({ dataDirectory, isKnown: known !== undefined, members, join, isStandby });
  const id = textOption(options, "id") ?? known?.nodeId ?? freshId(options, join);
  const own = members.find((member) => member.id === id)?.address;
  return {
    id,
    members,
    join,
    isStandby,
    listen: textOption(options, "listen") ?? own,
    dataDirectory,
    ...whenSet({
      advertise: textOption(options, "advertise"),
      snapshotBytesPerSecond: sizeOption(options, "snapshotRate"),
      scrubBytesPerSecond: sizeOption(options, "scrubRate"),
    }),
    repair: choiceOption(options, "repair", { allowed: ["auto", "never"], fallback: "auto" }),
    diskStallMs: durationOption(options, "diskStall", 1000),
    leaseReads:
      choiceOption(options, "leaseReads", { allowed: ["on", "off"], fallback: "off" }) === "on",
    syncMode: choiceOption(options, "syncMode", {
      allowed: ["sync", "async"],
      fallback: "sync",
    }).toUpperCase() as "SYNC" | "ASYNC",
    ...mastersOptions(options),
    compression: choiceOption(options, "compression", {
      allowed: ["auto", "zstd", "none"],
      fallback: "auto",
    }),
    heartbeatMs: durationOption(options, "heartbeat", 40),
    electionTimeoutMs: durationOption(options, "electionTimeout", 200),
    requestTimeoutMs: durationOption(options, "requestTimeout", 5000),
  };
}

/** What collections are that come into being, and how those are written that every node writes. */
function mastersOptions(options: RawOptions): Pick<NodeOptions, "mode" | "ack" | "conflict"> {
  const [mode, strategy] = [textOption(options, "mode"), textOption(options, "conflict")];
  const isSync = textOption(options, "syncMode") === "sync";
  return {
    ...(mode !== undefined && { mode: modeOption(options) }),
    ...(strategy !== undefined && { conflict: conflictOption(options) }),
    ack: choiceOption(options, "ack", {
      allowed: ["one", "majority", "all"],
      fallback: isSync ? "majority" : "one",
    }),
  };
}

/** The functions that a module exports. Rejects with ConfigError. */
async function loadResolvers(path: string | undefined): Promise<NodeConfig["resolvers"]> {
  if (path === undefined) return {};
  try {
    const exported: object = await import(pathToFileURL(resolve(path)).href);
    return Object.fromEntries(Object.entries(exported).filter(([name]) => name !== "default"));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError(`Cannot load the resolvers of "${path}": ${reason}`, { cause });
  }
}

/** Only the given values: for the rest the library has its defaults. */
function whenSet<T extends object>(values: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as { [K in keyof T]?: NonNullable<T[K]> };
}

/** A node belongs to the cluster of its folder; without one, options name its cluster. */
function checkOrigin(origin: {
  readonly dataDirectory: string;
  readonly isKnown: boolean;
  readonly members: readonly unknown[];
  readonly join: readonly string[];
  readonly isStandby: boolean;
}): void {
  const { dataDirectory, isKnown, members, join, isStandby } = origin;
  if (members.length > 0 && join.length > 0) {
    throw new UsageError(
      "Options --cluster and --join exclude each other",
      "--cluster begins a new cluster on all its nodes at once, --join joins one that runs",
    );
  }
  if (isStandby && join.length === 0) {
    throw new UsageError(
      "Option --standby belongs to --join",
      "A member's role is changed with: cstore cluster role ID standby",
    );
  }
  if (isKnown || members.length > 0 || join.length > 0) return;
  throw new UsageError(
    `Cannot start: "${dataDirectory}" holds no node yet, and neither --cluster nor --join is given`,
    "Join a cluster with --join HOST:PORT, begin one with `cstore cluster init`, or name all its nodes with --cluster",
  );
}

/** An id for a node that joins; a node that begins a cluster stands in its list. */
function freshId(options: RawOptions, join: readonly string[]): string {
  if (join.length === 0) return requiredOption(options, "id", "n1");
  return `n-${randomId(systemRandom()).slice(0, 6)}`;
}

const FILE_KEYS = [
  "id",
  "listen",
  "advertise",
  "data",
  "cluster",
  "join",
  "standby",
  "syncMode",
  "mode",
  "conflict",
  "ack",
  "resolvers",
  "compression",
  "heartbeat",
  "electionTimeout",
  "requestTimeout",
  "snapshotRate",
  "scrubRate",
  "diskStall",
  "leaseReads",
  "repair",
  "logLevel",
];

/** A TOML or JSON file with the names of the options, in camel case. */
function readConfigFile(path: string | undefined): RawOptions {
  if (path === undefined) return {};
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    throw new ConfigError(`Cannot read the configuration file "${path}"`, {
      cause,
      remedy: "Check the path given with --config",
    });
  }
  let values: RawOptions;
  try {
    values = path.endsWith(".json") ? JSON.parse(text) : parseToml(text);
  } catch (cause) {
    throw new ConfigError(
      `Cannot read "${path}": ${cause instanceof Error ? cause.message.split("\n")[0] : "it is malformed"}`,
    );
  }
  for (const key of Object.keys(values)) {
    if (!FILE_KEYS.includes(key))
      throw new ConfigError(`Cannot use "${key}" in "${path}": it is unknown`, {
        remedy: `Known: ${FILE_KEYS.join(", ")}`,
      });
  }
  return values;
}
