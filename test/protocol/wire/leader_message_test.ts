/**
 * News about the leader: exact bytes, and refusals of bodies that no node writes.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../src/base/bytes.ts";
import { ProtocolError } from "../../../src/base/errors.ts";
import { MEMBERS_MAX } from "../../../src/protocol/encoding/cluster_command.ts";
import {
  decodeLeaderNews,
  encodeLeaderNews,
  type LeaderNews,
} from "../../../src/protocol/wire/leader_message.ts";

const NEWS: LeaderNews = { term: 7, nodeId: "n2", address: "h:2", members: ["h:1", "h:2"] };
const UNKNOWN: LeaderNews = { term: 0, nodeId: "", address: "", members: [] };

function bodyWithCount(count: number): Uint8Array {
  const writer = new ByteWriter().u64(1).text("n1").text("h:1").u16(count);
  for (let i = 0; i < count; i += 1) writer.text(`h:${i}`);
  return writer.copy();
}

describe("leader news", () => {
  test("the fields follow each other in this order", () => {
    const hex = Buffer.from(encodeLeaderNews(NEWS)).toString("hex");
    expect(hex).toBe("07000000000000000200" + "6e320300683a32" + "02000300683a310300683a32");
  });

  test("news with and without a leader come back", () => {
    for (const news of [NEWS, UNKNOWN, { ...NEWS, term: Number.MAX_SAFE_INTEGER, members: [] }]) {
      expect(decodeLeaderNews(encodeLeaderNews(news))).toEqual(news);
    }
  });

  test("the limit of members is reached and not crossed", () => {
    expect(decodeLeaderNews(bodyWithCount(MEMBERS_MAX)).members).toHaveLength(MEMBERS_MAX);
    for (const count of [MEMBERS_MAX + 1, 0xffff]) {
      expect(() => decodeLeaderNews(bodyWithCount(count))).toThrow(`${count} members`);
      expect(() => decodeLeaderNews(bodyWithCount(count))).toThrow(ProtocolError);
    }
  });

  test("every cut is refused", () => {
    const body = encodeLeaderNews(NEWS);
    for (let end = 0; end < body.byteLength; end += 1) {
      expect(() => decodeLeaderNews(body.subarray(0, end))).toThrow(ProtocolError);
    }
  });

  test("a term above 2^53 - 1 and a text that is not UTF-8 are refused", () => {
    const term = encodeLeaderNews(NEWS);
    term[7] = 0xff;
    expect(() => decodeLeaderNews(term)).toThrow("above 2^53 - 1");
    const text = encodeLeaderNews(NEWS);
    text[10] = 0xff;
    expect(() => decodeLeaderNews(text)).toThrow("not valid UTF-8");
  });
});
