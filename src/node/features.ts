/**
 * Features that two connected nodes must have in common: batch codecs, the rule about leases,
 * and the rules by which the log is applied.
 *
 * @module
 */

import { ConfigError, HandshakeError } from "../base/errors.ts";
import type { RulesVersion } from "../base/rules_version.ts";
import { hasCodec } from "../platform/compression.ts";
import type { BatchCodec } from "../protocol/encoding/batch_codec.ts";
import {
  FEATURE_LEASE_MS,
  FEATURE_LEASE_READS,
  type Hello,
  rulesOf,
} from "../protocol/wire/handshake.ts";
import type { NodeConfig } from "./config/node_config.ts";

/** Hosts of this machine alone, with or without a port. */
const LOCAL = /^(?:127(?:\.\d+){3}|localhost|\[::1\])(?::\d+)?$|^::1$/;

/** How batches are compressed: between nodes on one machine it costs more than it saves. */
export function codecOf(config: NodeConfig): BatchCodec {
  const own = config.listen?.host ?? "127.0.0.1";
  const hosts = config.members.length === 0 ? [own] : config.members.map((m) => m.address);
  const isLocal = hosts.every((host) => LOCAL.test(host));
  if (config.compression === "none" || (config.compression === "auto" && isLocal)) return "none";
  return hasCodec("zstd") ? "zstd" : "deflate-raw";
}

/** Throws ConfigError for a codec that is asked for by name and that this runtime has not. */
export function checkRuntime({ compression }: NodeConfig, has = hasCodec): void {
  if (compression !== "zstd" || has("zstd")) return;
  throw new ConfigError("Cannot compress with zstd: this runtime has none", {
    remedy:
      "Node has it from 22.15 on, Bun and Deno always; with --compression auto a node takes " +
      "deflate where there is no zstd",
  });
}

/** Refuses a node that follows other rules about leases. Throws HandshakeError. */
export function checkLeases(config: NodeConfig, hello: Hello): void {
  if (hello.role !== "peer") return;
  const hasLeases = hello.features.includes(FEATURE_LEASE_READS);
  if (hasLeases !== config.leaseReads) {
    const [user, other] = hasLeases ? [hello.nodeId, config.id] : [config.id, hello.nodeId];
    throw new HandshakeError(
      `Cannot connect "${config.id}" and "${hello.nodeId}": "${user}" uses lease reads, "${other}" does not`,
      { remedy: "Stop all nodes, then start each with --lease-reads on, or none" },
    );
  }
  const named = hello.features.find((feature) => feature.startsWith(FEATURE_LEASE_MS));
  const ownMs = config.electionTimeoutMs;
  // A leader counts on voters that wait as long as itself. Older builds do not say it.
  if (!hasLeases || named === undefined || named === `${FEATURE_LEASE_MS}${ownMs}`) return;
  const theirMs = named.slice(FEATURE_LEASE_MS.length);
  throw new HandshakeError(
    `Cannot connect "${config.id}" and "${hello.nodeId}": lease reads need one election timeout, and they have ${ownMs} and ${theirMs} ms`,
    { remedy: "Stop all nodes, then start each with the same --election-timeout" },
  );
}

/** Refuses a node that could not read the batches of this one. Throws HandshakeError. */
export function checkCodec(config: NodeConfig, hello: Hello): void {
  const codec = codecOf(config);
  if (hello.role !== "peer" || codec === "none" || hello.features.includes(codec)) return;
  throw new HandshakeError(
    `Cannot connect "${config.id}" and "${hello.nodeId}": the latter's runtime cannot read ${codec}`,
    { remedy: "Run both on the same kind of runtime, or start all nodes with --compression none" },
  );
}

/** Refuses a node whose build cannot apply the log of this one. Throws HandshakeError. */
export function checkRules(rules: RulesVersion, config: NodeConfig, hello: Hello): void {
  if (hello.role !== "peer" || rulesOf(hello) >= rules) return;
  throw new HandshakeError(
    `Cannot connect "${config.id}" and "${hello.nodeId}": the log follows rules ${rules}, and the latter's build knows up to ${rulesOf(hello)}`,
    { remedy: `Start "${hello.nodeId}" with a build as new as this one` },
  );
}
