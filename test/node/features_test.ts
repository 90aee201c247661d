/**
 * What two nodes must have in common: batch codecs, and the rule about leases.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { type NodeOptions, parseNodeConfig } from "../../src/node/config/node_config.ts";
import { checkCodec, checkLeases, checkRuntime, codecOf } from "../../src/node/features.ts";
import {
  FEATURE_LEASE_MS,
  FEATURE_LEASE_READS,
  type Hello,
} from "../../src/protocol/wire/handshake.ts";

function config(options: Partial<NodeOptions> = {}) {
  const members = [
    { id: "n1", address: "10.0.0.1:7001" },
    { id: "n2", address: "10.0.0.2:7001" },
  ];
  return parseNodeConfig({ id: "n1", dataDirectory: "x", members, ...options });
}

function hello(features: readonly string[], role: Hello["role"] = "peer"): Hello {
  return { role, nodeId: "n2", features } as Hello;
}

const LOCAL = ["127.0.0.1:7001", "localhost:7001", "[::1]:7001"];

describe("codec", () => {
  test.each([
    ["auto", ["10.0.0.1:1", "127.0.0.1:2"], "zstd"],
    ["auto", LOCAL, "none"],
    ["zstd", LOCAL, "zstd"],
    ["none", ["10.0.0.1:1", "10.0.0.2:1"], "none"],
  ] as const)("%s between %j is %s", (compression, addresses, codec) => {
    const members = addresses.map((address, i) => ({ id: `n${i + 1}`, address }));
    expect(codecOf(config({ compression, members }))).toBe(codec);
  });

  test("a peer that cannot read it is refused, a client is not", () => {
    expect(() => checkCodec(config(), hello(["deflate-raw"]))).toThrow("cannot read zstd");
    checkCodec(config(), hello(["zstd"]));
    checkCodec(config(), hello([], "client"));
    checkCodec(config({ compression: "none" }), hello([]));
  });
});

test("a codec that is asked for by name and is not there is refused before anything else", () => {
  const none = () => false;
  expect(() => checkRuntime(config({ compression: "zstd" }), none)).toThrow("has none");
  checkRuntime(config({ compression: "zstd" }), () => true);
  checkRuntime(config({ compression: "auto" }), none);
});

test("leases: both or none", () => {
  checkLeases(config(), hello([]));
  checkLeases(config({ leaseReads: true }), hello([FEATURE_LEASE_READS]));
  checkLeases(config(), hello([FEATURE_LEASE_READS], "client"));
  const [withLeases, without] = [hello([FEATURE_LEASE_READS]), hello([])];
  expect(() => checkLeases(config(), withLeases)).toThrow("lease reads");
  expect(() => checkLeases(config({ leaseReads: true }), without)).toThrow("lease reads");
});

// A leader with a longer one than its voters was read from when another was elected.
test("leases: with one election timeout only", () => {
  const own = config({ leaseReads: true, electionTimeoutMs: 500 });
  const features = (ms: number): string[] => [FEATURE_LEASE_READS, `${FEATURE_LEASE_MS}${ms}`];
  checkLeases(own, hello(features(500)));
  expect(() => checkLeases(own, hello(features(200)))).toThrow("they have 500 and 200 ms");
  expect(() => checkLeases(own, hello(features(5000)))).toThrow("they have 500 and 5000 ms");
  checkLeases(config({ electionTimeoutMs: 500 }), hello([`${FEATURE_LEASE_MS}200`]));
});
