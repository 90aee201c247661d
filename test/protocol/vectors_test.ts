/**
 * docs/protocol.md against the code: every vector, number and limit in it.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ERROR_CODES, errorNumber } from "../../src/base/errors.ts";
import * as limits from "../../src/base/limits.ts";
import { PROTOCOL_VERSION } from "../../src/base/version.ts";
import { BATCH_CODECS, BATCH_HEADER_SIZE } from "../../src/protocol/encoding/batch_codec.ts";
import { checkCbor } from "../../src/protocol/encoding/cbor_gate.ts";
import { MEMBER_ROLES } from "../../src/protocol/encoding/cluster_command.ts";
import { COMMAND_KINDS, OPERATION_KINDS } from "../../src/protocol/encoding/command.ts";
import { errorFromNumber } from "../../src/protocol/encoding/error_maker.ts";
import { READ_LEVELS, REQUEST_KINDS } from "../../src/protocol/wire/client_message.ts";
import {
  FRAME_HEADER_SIZE,
  FRAME_KINDS,
  FRAME_MAGIC,
} from "../../src/protocol/wire/frame_header.ts";
import { RAFT_MESSAGE_TYPES } from "../../src/protocol/wire/replication_message.ts";
import { VECTORS } from "./vectors.ts";

const TEXT = readFileSync(join(import.meta.dir, "../../docs/protocol.md"), "utf8");

/** Rows of the first table under a heading, without its head. */
function table(heading: string): string[][] {
  const section = TEXT.split(/^#+ /m).find((part) => part.startsWith(heading)) ?? "";
  const [first = ""] = /^\|.*(\n\|.*)*/m.exec(section) ?? [];
  const rows = first.split("\n").slice(2);
  return rows.map((row) =>
    row
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

/** The vectors in the document: a line `Vector NAME`, then a block of hex digits. */
function vectors(): Map<string, string> {
  const pattern = /^Vector (.+):\n\n```hex check\n([0-9a-f\s]+)```$/gm;
  const found = [...TEXT.matchAll(pattern)];
  return new Map(found.map(([, name = "", hex = ""]) => [name, hex.replace(/\s/g, "")]));
}

/** "8 MiB", "16 KiB", "10,000", "2,000 ms" as numbers. */
function amount(text: string): number {
  const [digits = "", unit = ""] = text.split(" ");
  const factor = { KiB: 1024, MiB: 2 ** 20, GiB: 2 ** 30 }[unit] ?? 1;
  return Number(digits.replaceAll(",", "")) * factor;
}

test("vectors: the document shows all of them, and each is what the code makes", () => {
  const shown = vectors();
  expect([...shown.keys()].sort()).toEqual(Object.keys(VECTORS).sort());
  for (const [name, make] of Object.entries(VECTORS)) {
    expect([name, shown.get(name)]).toEqual([name, Buffer.from(make()).toString("hex")]);
  }
});

describe("tables", () => {
  test.each<readonly [string, readonly string[]]>([
    ["Frame kinds", FRAME_KINDS],
    ["Request kinds", REQUEST_KINDS],
    ["Command kinds", COMMAND_KINDS],
    ["Operation kinds", OPERATION_KINDS],
    ["Message types", RAFT_MESSAGE_TYPES],
    ["Read levels", READ_LEVELS],
    ["Member roles", MEMBER_ROLES],
    ["Codecs", BATCH_CODECS],
  ])("numbers: %s", (heading, names) => {
    const rows = table(heading).map(([number, name]) => [Number(number), name]);
    const expected = [...names.entries()].filter(([, name]) => name !== "NONE");
    expect(rows).toEqual(expected.map(([number, name]) => [number, name]));
  });

  test("errors: number, code and retry rule", () => {
    const rows = table("Error codes").map(([number, code, retry]) => [Number(number), code, retry]);
    const expected = ERROR_CODES.filter((code) => code !== "NONE").map((code) => {
      const error = errorFromNumber(errorNumber(code), { message: "" });
      return [errorNumber(code), code, error.code === code ? error.retry : "local"];
    });
    expect(rows).toEqual(expected);
  });

  test("limits: each value, and the constants of the header", () => {
    const rows = table("Limits");
    expect(rows.length).toBeGreaterThan(15);
    for (const [value = "", name = ""] of rows) {
      const known = (limits as Readonly<Record<string, number>>)[name.replaceAll("`", "")];
      expect([name, known]).toEqual([name, amount(value)]);
    }
    expect([FRAME_HEADER_SIZE, BATCH_HEADER_SIZE, PROTOCOL_VERSION]).toEqual([24, 64, 1]);
    expect(FRAME_MAGIC).toBe(0x5343);
  });

  test("values: each example is allowed or refused as the table says", () => {
    const rows = table("Values");
    expect(rows.length).toBeGreaterThan(10);
    for (const [, example = "", rule = ""] of rows) {
      if (example === "-") continue;
      const bytes = Buffer.from(example.replaceAll(/[` ]/g, ""), "hex");
      const isAllowed = checkCbor(bytes, 0, bytes.byteLength) === "";
      expect([example, isAllowed]).toEqual([example, !rule.startsWith("refused")]);
    }
  });
});
