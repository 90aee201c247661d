/**
 * Addresses under which others reach a node: what nobody can dial is refused before it is kept.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { checkAddress, isWildcard, parseEndpoint, writeEndpoint } from "../../src/base/address.ts";
import { ConfigError } from "../../src/base/errors.ts";
import { parseNodeConfig } from "../../src/node/config/node_config.ts";
import { checkListen } from "../../src/node/config/resolve_config.ts";
import { codecOf } from "../../src/node/features.ts";

const UNDIALABLE = [
  ...["0.0.0.0:7001", "[::]:7001", "[0:0:0:0:0:0:0:0]:7001", "[::0.0.0.0]:7001", "0:7001"],
  ...["000.0.0.0:7001", "*:7001", "http://h:7001", "cstore://h:7001", "n1=h:7001", "a b:7001"],
  ...["[::ffff:0:0]:7001", "0x0:7001", "..:7001", "a..b:7001", "[abc]:7001", "256.1.1.1:7001"],
  ...["h", "h:0", "h:65536", "h:", ":7001", "", "::1:7001", "h:7001/", "h:7001,i:7001", "h:+1"],
];

test.each(UNDIALABLE)("%j is no address of a member", (address) => {
  expect(() => checkAddress(address)).toThrow(ConfigError);
});

test.each([
  ...["127.0.0.1:7001", "10.0.0.1:1", "db1:65535", "db-1.example.com:7001", "a_b:7001"],
  ...["[::1]:7001", "[fd00::1]:7001", "0.example:7001"],
  ...["[::ffff:10.0.0.1]:7001", "[fe80::1%eth0]:7001", "db1.example.com.:7001"],
])("%j is one, and is written as it was", (address) => {
  checkAddress(address);
  expect(writeEndpoint(parseEndpoint(address))).toBe(address);
});

test("hosts that stand for every interface", () => {
  for (const host of ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "*", "0"]) {
    expect([host, isWildcard(host)]).toEqual([host, true]);
  }
  for (const host of ["127.0.0.1", "::1", "0.0.0.1", "10.0.0.0", "localhost", ""]) {
    expect([host, isWildcard(host)]).toEqual([host, false]);
  }
});

describe("configuration of a node", () => {
  const base = { id: "n1", dataDirectory: "x" };
  const one = (address: string) => [{ id: "n1", address }];

  test("members and the advertised address are ones that others can dial", () => {
    for (const address of ["0.0.0.0:7001", "[::]:7001", "*:7001", "http://h:7001"]) {
      expect(() => parseNodeConfig({ ...base, members: one(address) })).toThrow(ConfigError);
      expect(() => parseNodeConfig({ ...base, advertise: address })).toThrow(ConfigError);
    }
    parseNodeConfig({ ...base, members: one("h:7001"), listen: "0.0.0.0:7001" });
  });

  test("to join from every interface, the advertised address is needed", () => {
    const joining = { ...base, join: ["h:7001"], listen: "0.0.0.0:7002" };
    expect(() => parseNodeConfig(joining)).toThrow("under which host to reach this node");
    parseNodeConfig({ ...joining, advertise: "h2:7002" });
  });

  test("a member that listens on another port than the others dial is refused", () => {
    const config = (listen: string, advertise?: string) =>
      parseNodeConfig({ ...base, listen, ...(advertise !== undefined && { advertise }) });
    const elsewhere = () => checkListen(config("h:7009"), "h:7001");
    expect(elsewhere).toThrow('Cannot listen on h:7009: the members reach "n1" at h:7001');
    checkListen(config("0.0.0.0:7001"), "h:7001");
    checkListen(config("h:7009", "h:7001"), "h:7001");
    checkListen(config("h:0"), "h:7001");
    checkListen(config("h:7009"), "");
    checkListen(config("h:7009"), "127.0.0.1:0");
    checkListen(parseNodeConfig(base), "h:7001");
  });

  test("a host that only begins like a local one is none: batches are compressed", () => {
    const codec = (address: string) => codecOf(parseNodeConfig({ ...base, members: one(address) }));
    for (const address of ["localhost:1", "127.9.9.9:1", "[::1]:1"]) {
      expect([address, codec(address)]).toEqual([address, "none"]);
    }
    for (const address of ["localhost-db.corp:1", "127.example.com:1", "[::1234]:1"]) {
      expect([address, codec(address)]).not.toEqual([address, "none"]);
    }
  });
});
