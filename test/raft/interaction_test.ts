/**
 * Runs every script in `testdata/` and compares its output, to the letter. `CSTORE_REWRITE=1`
 * writes the present output into the files: read the difference before you keep it.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatScript, parseScript, ScriptRunner } from "./script.ts";

const FOLDER = join(import.meta.dirname, "testdata");
const isRewriting = process.env.CSTORE_REWRITE === "1";
const names = readdirSync(FOLDER).filter((name) => name.endsWith(".txt"));

test.each(names)("script: %s", (name) => {
  const path = join(FOLDER, name);
  const text = readFileSync(path, "utf8");
  const runner = new ScriptRunner();
  const blocks = parseScript(text).map((block) => {
    return { ...block, expected: runner.run(block.commands) };
  });
  const printed = formatScript(blocks);
  if (isRewriting) writeFileSync(path, printed);
  else expect(printed).toBe(text);
});
