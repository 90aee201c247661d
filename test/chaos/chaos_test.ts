/**
 * The chaos runner itself, for a few seconds: its command line, its result and its history.
 *
 * @module
 */

import { afterAll, describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { freshFolder } from "../node/test_cluster.ts";
import { formatHistory, readHistoryFile } from "./history_file.ts";
import type { ChaosResult } from "./run.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/chaos.ts", import.meta.url));
const folder = freshFolder();

afterAll(() => folder.remove());

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function chaos(...words: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [SCRIPT, ...words], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    stdout += String(chunk);
  });
  child.stderr.on("data", (chunk) => {
    stderr += String(chunk);
  });
  return new Promise((resolve) => {
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

function resultOf(ended: Ended): ChaosResult {
  return JSON.parse(ended.stdout.trimEnd().split("\n").at(-1) ?? "") as ChaosResult;
}

describe("chaos", () => {
  test("faults: a run under kills, stops and broken links is judged", async () => {
    const history = join(folder.path, "history.jsonl");
    const run = ["--minutes", "0.07", "--nodes", "3", "--gap", "300", "--seed", "7"];
    const kinds = "kill,stop,blackHole,halfOpen,slowDisk";
    const ended = await chaos(...run, "--faults", kinds, "--history", history, "--json");
    expect(ended.stderr).toContain("faults are over");
    const { minutes, faults, operations, ...verdict } = resultOf(ended);
    expect(verdict).toEqual({
      lostAcknowledged: 0,
      linearizable: true,
      digestsEqual: true,
      failures: [],
    });
    expect(ended.code).toBe(0);
    expect(minutes).toBeGreaterThan(0);
    for (const kind of Object.keys(faults)) expect(kinds.split(",")).toContain(kind);
    expect(Object.values(faults).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(1);
    const seen = readHistoryFile(history);
    expect(seen).toHaveLength(operations);
    expect(new Set(seen.map(({ op }) => op)).size).toBe(4);
    expect(readFileSync(history, "utf8")).toBe(formatHistory(seen));
  }, 300_000);

  test("kills: every node dies at once, and what was acknowledged is read again", async () => {
    const data = join(folder.path, "kept");
    const ended = await chaos("--kills", "1", "--nodes", "3", "--json", "--data", data);
    expect(resultOf(ended)).toMatchObject({ faults: { killAll: 1 }, failures: [] });
    expect(ended.code).toBe(0);
    const log = readFileSync(join(data, "n1.log"), "utf8");
    expect(log.match(/SIGKILL$/gm)).toHaveLength(2); // Sent, and how the process ended.
    expect(existsSync(join(data, "n1", "identity"))).toBe(true);
  }, 300_000);

  test("check: a history with a lost write is a failure", async () => {
    const path = join(folder.path, "lost.jsonl");
    const common = { client: 1, key: "k1", outcome: "ok" } as const;
    const lost = formatHistory([
      { ...common, op: "put", value: "v1", start: 0, end: 1 },
      { ...common, op: "get", value: null, start: 2, end: 3 },
    ]);
    await Bun.write(path, lost);
    const ended = await chaos("--check", path, "--json");
    expect(ended.code).toBe(1);
    expect(resultOf(ended)).toMatchObject({
      operations: 2,
      lostAcknowledged: 1,
      linearizable: false,
    });
  });

  test.each([
    [["--faults", "meteor"], 'There is no fault "meteor"'],
    [["--nodes", "2"], '--nodes is a whole number from 3 to 9, not "2"'],
    [["--minutes", "0"], '--minutes is a number above 0, not "0"'],
    [["--kills", "3", "--minutes", "1"], "--minutes and --kills are two different runs"],
    [["--check", "missing.jsonl"], "missing.jsonl"],
    [["--data", dirname(SCRIPT)], `"${dirname(SCRIPT)}" is not empty`],
    [["--limits", "huge"], '--limits is small or shipped, not "huge"'],
    [["--often"], "--often"],
  ])("a wrong command line is refused: %p", async (words, reason) => {
    const ended = await chaos(...words);
    expect(ended.stderr).toContain(reason);
    expect(ended.stdout).toBe("");
    expect(ended.code).toBe(words[0] === "--check" ? 1 : 2);
  });
});
