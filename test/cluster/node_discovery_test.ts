/**
 * Where nodes may be found: fixed addresses, all addresses of a name, the targets of SRV records.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { NodeDiscovery } from "../../src/cluster/node_discovery.ts";
import type { Resolver } from "../../src/platform/resolver.ts";
import { rejection } from "../node/test_cluster.ts";

type Services = readonly { readonly host: string; readonly port: number }[];

/** Names that a test can change; what is asked for is noted. */
class Names implements Resolver {
  readonly hosts = new Map<string, readonly string[]>();
  readonly records = new Map<string, Services>();
  readonly asked: string[] = [];

  async addresses(name: string): Promise<readonly string[]> {
    return this.#known("addresses", name, this.hosts.get(name));
  }

  async services(name: string): Promise<Services> {
    return this.#known("services", name, this.records.get(name));
  }

  #known<T>(kind: string, name: string, found: T | undefined): T {
    this.asked.push(`${kind} ${name}`);
    if (found === undefined) throw new Error(`ENOTFOUND ${name}`);
    return found;
  }
}

describe("seeds", () => {
  test("addresses are given as they are, in order, without asking anybody", async () => {
    const names = new Names();
    const seeds = ["10.0.0.1:7001", "db.example:7001", "[::1]:7001", "10.0.0.1:7001"];
    const found = await new NodeDiscovery(seeds, names).find();
    expect(found).toEqual(["10.0.0.1:7001", "db.example:7001", "[::1]:7001"]);
    expect(names.asked).toEqual([]);
  });

  test("dns: gives every address of the name, each with the port", async () => {
    const names = new Names();
    names.hosts.set("db.example", ["10.0.0.1", "fd00::2", "10.0.0.3"]);
    const found = await new NodeDiscovery(["dns:db.example:7001"], names).find();
    expect(found).toEqual(["10.0.0.1:7001", "[fd00::2]:7001", "10.0.0.3:7001"]);
    expect(names.asked).toEqual(["addresses db.example"]);
  });

  test("srv: gives targets with their own ports, in the resolver's order", async () => {
    const names = new Names();
    const name = "_cstore._tcp.db.example";
    names.records.set(name, [
      { host: "b.example", port: 7002 },
      { host: "a.example", port: 7001 },
    ]);
    const found = await new NodeDiscovery([`srv:${name}`], names).find();
    expect(found).toEqual(["b.example:7002", "a.example:7001"]);
    expect(names.asked).toEqual([`services ${name}`]);
  });

  test("all kinds together, each address once", async () => {
    const names = new Names();
    names.hosts.set("db.example", ["10.0.0.1", "10.0.0.2"]);
    names.records.set("db", [{ host: "10.0.0.2", port: 7001 }]);
    const seeds = ["10.0.0.1:7001", "dns:db.example:7001", "srv:db"];
    const found = await new NodeDiscovery(seeds, names).find();
    expect(found).toEqual(["10.0.0.1:7001", "10.0.0.2:7001"]);
  });
});

describe("change and failure", () => {
  test("names are looked up anew each time", async () => {
    const names = new Names();
    const discovery = new NodeDiscovery(["dns:db.example:7001"], names);
    for (const address of ["10.0.0.1", "10.0.0.2"]) {
      names.hosts.set("db.example", [address]);
      expect(await discovery.find()).toEqual([`${address}:7001`]);
    }
    names.hosts.delete("db.example");
    expect((await rejection(discovery.find())).code).toBe("UNREACHABLE");
    names.hosts.set("db.example", ["10.0.0.3"]);
    expect(await discovery.find()).toEqual(["10.0.0.3:7001"]);
  });

  test("a seed that gives nothing does not hide the others", async () => {
    const names = new Names();
    names.hosts.set("here.example", ["10.0.0.1"]);
    const seeds = ["dns:gone.example:7001", "srv:gone", "dns:here.example:7001"];
    expect(await new NodeDiscovery(seeds, names).find()).toEqual(["10.0.0.1:7001"]);
  });

  test("when none gives any, the error names each seed and its problem", async () => {
    const names = new Names();
    names.hosts.set("empty.example", []);
    const seeds = ["dns:gone.example:7001", "srv:away", "dns:empty.example:7001"];
    const error = await rejection(new NodeDiscovery(seeds, names).find());
    expect(error.code).toBe("UNREACHABLE");
    expect(error.message).toContain("dns:gone.example:7001: ENOTFOUND gone.example");
    expect(error.message).toContain("srv:away: ENOTFOUND away");
  });

  test.each([
    "",
    "host",
    "host:",
    "host:99999",
    "host:-1",
    "a b:7001",
    "dns:",
    "dns:host",
    "dns:host:port",
    "srv:",
    "srv:a b",
    "srv:a:7001",
    "srv:a/b",
  ])("the seed %p is refused at once", (seed) => {
    const make = (): NodeDiscovery => new NodeDiscovery(["10.0.0.1:7001", seed], new Names());
    expect(make).toThrow(expect.objectContaining({ code: "CONFIG" }));
  });
});
