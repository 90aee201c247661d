// The table of small histories in docs/multi_master.md, row by row.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Fields } from "../../src/base/value.ts";
import type {
  ConflictConfig,
  ConflictStrategy,
  RemovalRule,
} from "../../src/multi_master/operation/conflict_rule.ts";
import { bodyAfter, type Write } from "./history.ts";

const TEXT = readFileSync(join(import.meta.dirname, "../../docs/multi_master.md"), "utf8");
const ROW = /^\| (`[^|]*) \| (n[^|]*) \| ([^|]*) \|$/gm;
const WRITE = /^(n\d)(?: after ([\d, ]+?))?(?: at (\d+))? (?:`(.*)`|removes)$/;

function ruleOf(text: string): ConflictConfig {
  const [, strategy, rest = ""] = /^`([^`]+)`(.*)$/.exec(text)!;
  const removal = /`([^`]+)`/.exec(rest)?.[1];
  const priorities = rest.match(/n\d/g);
  return {
    strategy: strategy as ConflictStrategy,
    ...(removal === undefined ? {} : { removal: removal as RemovalRule }),
    ...(priorities === null ? {} : { priorities }),
  };
}

function writeOf(text: string): Write {
  const found = WRITE.exec(text);
  if (found === null) throw new Error(`"${text}" is no write`);
  const [, node = "", after, at, body] = found;
  return {
    node,
    body: body === undefined ? undefined : (JSON.parse(body) as Fields),
    after: (after ?? "").match(/\d+/g)?.map((position) => Number(position) - 1) ?? [],
    ...(at === undefined ? {} : { at: Number(at) }),
  };
}

const rows = [...TEXT.matchAll(ROW)].map(([, rule = "", writes = "", seen = ""]) => {
  return { rule, writes, seen };
});

test("history: the table has its rows", () => {
  expect(rows.length).toBeGreaterThan(20);
});

test.each(rows)("history: $rule: $writes", ({ rule, writes, seen }) => {
  const expected = seen === "nothing" ? undefined : JSON.parse(seen.slice(1, -1));
  expect(bodyAfter(ruleOf(rule), writes.split("; ").map(writeOf))).toEqual(expected);
});
