/**
 * Disk health of a node: stalls become an alarm, and the members' addresses are noted in order.
 *
 * @module
 */

import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseNodeConfig } from "../../../src/node/config/node_config.ts";
import { Alarms } from "../../../src/node/recovery/alarms.ts";
import { DiskMonitor, reasonOf } from "../../../src/node/recovery/disk_monitor.ts";
import type { Snapshotter } from "../../../src/node/snapshots/snapshotter.ts";
import { systemClock } from "../../../src/platform/clock.ts";
import { systemPlatform } from "../../../src/platform/platform.ts";
import { Configuration } from "../../../src/raft/configuration.ts";
import { IDENTITY } from "../../storage/log_fixture.ts";
import { freshFolder, waitFor } from "../test_cluster.ts";

let folder: ReturnType<typeof freshFolder>;
beforeEach(() => {
  folder = freshFolder();
});
afterEach(() => folder.remove());

function monitor() {
  const alarms = new Alarms(systemClock);
  const config = parseNodeConfig({
    id: "n1",
    dataDirectory: folder.path,
    scrubBytesPerSecond: 0,
    members: [{ id: "n1", address: "127.0.0.1:1" }],
  });
  const platform = systemPlatform();
  const snapshotter = {} as Snapshotter;
  const machine = {} as never;
  const parts = { platform, config, identity: IDENTITY, machine, alarms, snapshotter };
  return { alarms, disk: new DiskMonitor(parts) };
}

test("a stall is an alarm for as long as it lasts", async () => {
  const { alarms, disk } = monitor();
  disk.start();
  disk.diskStalled(true);
  const [alarm] = alarms.list();
  expect(alarm).toMatchObject({ kind: "DISK_STALL", detail: "a sync takes more than 1000 ms" });
  disk.diskStalled(false);
  expect(alarms.list()).toEqual([]);
  await disk.stop();
});

test("the other members' addresses are noted, the newest last", async () => {
  const { disk } = monitor();
  const member = (id: string, address: string) => {
    return { id, address, role: "voter", incarnation: "" } as const;
  };
  disk.membersChanged(new Configuration([member("n1", "a:1")]));
  disk.membersChanged(new Configuration([member("n1", "a:1"), member("n2", "b:2")]));
  disk.membersChanged(new Configuration([member("n1", "a:1"), member("n3", "c:3")]));
  await waitFor("the newest", () => {
    try {
      return readFileSync(`${folder.path}/peers`, "latin1").includes("c:3");
    } catch {
      return false;
    }
  });
  expect(readFileSync(`${folder.path}/peers`, "latin1")).not.toContain("b:2");
  await disk.stop();
});

test("reasons are the messages of errors, and the text of anything else", () => {
  expect([reasonOf(new Error("full")), reasonOf("odd")]).toEqual(["full", "odd"]);
});
