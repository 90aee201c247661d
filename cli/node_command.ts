/**
 * `cstore node`: one node in the foreground.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import { configure, getConsoleSink, jsonLinesFormatter } from "@logtape/logtape";
import { parse as parseToml } from "smol-toml";
import { ConfigError, type CStoreError } from "../src/base/errors.ts";
import { Node, type NodeOptions, parseNodeConfig } from "../src/mod.ts";
import { systemPlatform } from "../src/platform/platform.ts";
import { exit, onStopSignal, processId } from "../src/platform/process.ts";
import {
  choiceOption,
  durationOption,
  FILE_VALUES,
  originOf,
  parseMembers,
  type RawOptions,
  requiredOption,
  textOption,
} from "./options.ts";
import { EXIT, isTerminal, printJson, reportError, tell } from "./output.ts";

/** Runs until a signal or a failure ends it. */
export async function runNode(options: RawOptions): Promise<never> {
  const merged: RawOptions = {
    ...options,
    [FILE_VALUES]: readConfigFile(textOption(options, "config")),
  };
  const nodeOptions = nodeOptionsOf(merged);
  const config = parseNodeConfig(nodeOptions);
  if (merged["printConfig"] === true) {
    const origins = FILE_KEYS.map((name) => [name, originOf(merged, name)]);
    printJson({ ...config, origins: Object.fromEntries(origins) });
    exit(EXIT.ok);
  }
  await startLogging(choiceOption(merged, "logLevel", { allowed: LEVELS, fallback: "warning" }));
  let isStopping = false;
  const node = await Node.open(systemPlatform(), config, {
    onFatal: (error: CStoreError) => exit(reportError(error, false)),
  });
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
    `node ${config.id} listens on ${endpoint?.host}:${endpoint?.port}, cluster ${node.clusterId}, process ${processId()}, data in ${config.dataDirectory}`,
  );
  if (config.syncMode === "ASYNC")
    tell(
      "syncMode is ASYNC: writes are answered when they are on the leader's disk; a failover may lose them",
    );
  return new Promise<never>(() => undefined);
}

const LEVELS = ["debug", "info", "warning", "error", "fatal"] as const;

async function startLogging(level: (typeof LEVELS)[number]): Promise<void> {
  const sink = isTerminal() ? getConsoleSink() : getConsoleSink({ formatter: jsonLinesFormatter });
  await configure({
    sinks: { console: sink },
    loggers: [
      { category: ["logtape", "meta"], lowestLevel: "error", sinks: ["console"] },
      { category: ["cstore"], lowestLevel: level, sinks: ["console"] },
    ],
  });
}

function nodeOptionsOf(options: RawOptions): NodeOptions {
  const id = requiredOption(options, "id", "n1");
  const members = parseMembers(
    requiredOption(options, "cluster", "n1=127.0.0.1:7001,n2=127.0.0.1:7002,n3=127.0.0.1:7003"),
  );
  const own = members.find((member) => member.id === id)?.address;
  return {
    id,
    members,
    listen: textOption(options, "listen") ?? own,
    dataDirectory: requiredOption(options, "data", "./data/n1"),
    syncMode: choiceOption(options, "syncMode", {
      allowed: ["sync", "async"],
      fallback: "sync",
    }).toUpperCase() as "SYNC" | "ASYNC",
    compression: choiceOption(options, "compression", {
      allowed: ["auto", "zstd", "none"],
      fallback: "auto",
    }),
    heartbeatMs: durationOption(options, "heartbeat", 40),
    electionTimeoutMs: durationOption(options, "electionTimeout", 200),
    requestTimeoutMs: durationOption(options, "requestTimeout", 5000),
  };
}

const FILE_KEYS = [
  "id",
  "listen",
  "data",
  "cluster",
  "syncMode",
  "compression",
  "heartbeat",
  "electionTimeout",
  "requestTimeout",
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
