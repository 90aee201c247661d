/**
 * Configured times that the round trip contradicts.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { Alarms } from "../../src/node/recovery/alarms.ts";
import { contradictionOf, TimeoutAlarm } from "../../src/node/timeout_alarm.ts";
import { Pace } from "../../src/replication/raft/pace.ts";
import { FakeClock } from "../transport/fake_socket.ts";

describe("times and round trips", () => {
  test.each([
    ["loopback", 200, 5000, 0.1, undefined],
    ["as long as three round trips", 630, 5000, 210, undefined],
    [
      "an election timeout that leases keep",
      ...([200, 5000, 210] as const),
      "--election-timeout 1000ms --heartbeat 200ms",
    ],
    ["a short time for a commit", 700, 400, 210, "--request-timeout 850ms"],
    [
      "both",
      ...([200, 400, 210] as const),
      "--election-timeout 1000ms --heartbeat 200ms --request-timeout 1000ms",
    ],
  ])("%s", (...[, electionMs, requestTimeoutMs, rttMs, options]) => {
    const said = contradictionOf({ electionMs, requestTimeoutMs, rttMs });
    expect(said).toBe(
      options === undefined
        ? undefined
        : `the round trip to the farthest voter is 210 ms: start each node with ${options} or more`,
    );
  });

  test("a moment is neither an alarm nor its end", () => {
    const clock = new FakeClock();
    let rttMs = 0;
    const pace = new Pace({
      ...{ electionTimeoutMs: 200, heartbeatMs: 40, isFixed: true },
      outlook: () => ({ rttMs, workMs: 0 }),
    });
    const alarms = new Alarms(clock);
    const alarm = new TimeoutAlarm({ clock, pace, alarms }, 5000);
    const pass = (seconds: number, rtt: number): string[] => {
      rttMs = rtt;
      for (let i = 0; i < seconds * 10; i += 1) {
        clock.advance(100);
        pace.see(clock.nowMs(), 0);
        alarm.tick();
      }
      return alarms.list().map(({ kind }) => kind);
    };
    expect(pass(9, 100)).toEqual([]);
    expect(pass(1, 1)).toEqual([]);
    expect(pass(9, 100)).toEqual([]);
    expect(pass(2, 100)).toEqual(["TIMEOUT_SHORT"]);
    expect(alarms.list()[0]?.detail).toContain("--election-timeout 500ms");
    // A remedy that does not help any more is replaced.
    expect(pass(11, 2000)).toEqual(["TIMEOUT_SHORT"]);
    expect(alarms.list()[0]?.detail).toContain("--election-timeout 8000ms");
    expect(pass(11, 500)).toEqual(["TIMEOUT_SHORT"]);
    expect(alarms.list()[0]?.detail).toContain("--election-timeout 8000ms");
    expect(pass(9, 1)).toEqual(["TIMEOUT_SHORT"]);
    expect(pass(2, 1)).toEqual([]);
  });
});
