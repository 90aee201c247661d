/**
 * Segment headers, and segments that are filled and written to.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { checksum32 } from "../../../src/protocol/encoding/checksum.ts";
import {
  createSegment,
  decodeSegmentHeader,
  encodeSegmentHeader,
  fillWithZeros,
  SEGMENT_HEADER_SIZE,
  type SegmentHeader,
  type SegmentRefusal,
  segmentName,
  segmentNumberOf,
} from "../../../src/storage/wal/segment.ts";
import { diskOf, IDENTITY } from "../log_fixture.ts";

const HEADER: SegmentHeader = {
  segmentNumber: 3,
  firstRecord: 10,
  previousChain: 0x0102030405060708n,
  salt: 0xa1a2a3a4a5a6a7a8n,
  lastIndex: 9,
};

describe("a segment's header", () => {
  test("comes back", () => {
    expect(decodeSegmentHeader(encodeSegmentHeader(HEADER, IDENTITY), IDENTITY)).toEqual(HEADER);
    expect(decodeSegmentHeader(encodeSegmentHeader(HEADER, IDENTITY), undefined)).toEqual(HEADER);
  });

  test("no bit of it may change, and the salt stands there twice", () => {
    const bytes = encodeSegmentHeader(HEADER, IDENTITY);
    for (let bit = 0; bit < SEGMENT_HEADER_SIZE * 8; bit += 1) {
      const copy = bytes.slice();
      copy[bit >> 3]! ^= 1 << (bit & 7);
      const refused = decodeSegmentHeader(copy, IDENTITY);
      if (!("refusal" in refused)) throw new Error(`bit ${bit} went unnoticed`);
      expect(refused.isWhole).toBe(false);
      expect(refused.salts).toContain(HEADER.salt);
    }
  });

  test.each([
    { ...IDENTITY, clusterId: "0000000000000000" },
    { ...IDENTITY, nodeId: "n2" },
    { ...IDENTITY, incarnation: "0000000000000000" },
  ])("of another identity is whole, but refused", (identity) => {
    const refused = decodeSegmentHeader(encodeSegmentHeader(HEADER, identity), IDENTITY);
    expect(refused).toMatchObject({ isWhole: true });
    expect(decodeSegmentHeader(encodeSegmentHeader(HEADER, identity), undefined)).toEqual(HEADER);
  });

  test("cut off it is refused", () => {
    const bytes = encodeSegmentHeader(HEADER, IDENTITY).subarray(0, 127);
    expect(decodeSegmentHeader(bytes, IDENTITY)).toMatchObject({ isWhole: false });
  });

  test("names sort by number and lead back to it", () => {
    expect(segmentName(12)).toBe("0000000012.segment");
    expect(segmentNumberOf("0000000012.segment")).toBe(12);
    for (const name of ["12.segment", "0000000012.segment.torn", "spare.tmp", "mark"]) {
      expect(segmentNumberOf(name)).toBeUndefined();
    }
  });
});

describe("what refuses a header", () => {
  function patched(patch: (view: DataView) => void): Uint8Array {
    const bytes = encodeSegmentHeader(HEADER, IDENTITY);
    const view = new DataView(bytes.buffer);
    patch(view);
    view.setUint32(0, checksum32(bytes.subarray(4)), true);
    return bytes;
  }

  const salts = [HEADER.salt, HEADER.salt];
  const TOO_LARGE = 2n ** 53n;
  test.each<[string, Uint8Array, object]>([
    [
      "too few bytes",
      encodeSegmentHeader(HEADER, IDENTITY).subarray(0, 127),
      { refusal: "the header is cut off", isWhole: false, salts: [] },
    ],
    [
      "no magic",
      patched((view) => view.setUint32(4, 1, true)),
      { refusal: "the header's checksum does not match", isWhole: false, salts },
    ],
    [
      "another format",
      patched((view) => view.setUint16(8, 9, true)),
      { refusal: "disk format 9 is unknown", isWhole: true, salts },
    ],
    [
      "another node's id",
      patched((view) => view.setBigUint64(64, 1n, true)),
      { refusal: "it belongs to another cluster, node or data directory", isWhole: true, salts },
    ],
    // History: such a number was read as NaN, which no comparison refuses.
    ...[16, 24, 72].map((at): [string, Uint8Array, object] => [
      `a number at ${at} that no writer puts there`,
      patched((view) => view.setBigUint64(at, TOO_LARGE, true)),
      { refusal: "a number in the header is out of range", isWhole: true, salts },
    ]),
  ])("%s", (_what, bytes, expected) => {
    expect(decodeSegmentHeader(bytes, IDENTITY)).toEqual(expected as SegmentRefusal);
  });

  test("bytes behind the header do not count", () => {
    const bytes = new Uint8Array(512).fill(7);
    bytes.set(encodeSegmentHeader(HEADER, IDENTITY));
    expect(decodeSegmentHeader(bytes, IDENTITY)).toEqual(HEADER);
  });

  test("the largest numbers come back", () => {
    const most = Number.MAX_SAFE_INTEGER;
    const header = { ...HEADER, segmentNumber: most, firstRecord: most, lastIndex: most };
    expect(decodeSegmentHeader(encodeSegmentHeader(header, IDENTITY), IDENTITY)).toEqual(header);
  });
});

describe("filling with zeros", () => {
  const MIB = 1024 * 1024;

  /** What happens to the file, in order. */
  async function filled(size: number): Promise<{ steps: string[]; bytes: Uint8Array }> {
    const disk = diskOf(1);
    const file = disk.files.open("data/spare", "write");
    const steps: string[] = [];
    const watched = Object.assign(Object.create(file), {
      size: () => file.size(),
      write: (at: number, bytes: Uint8Array) => {
        steps.push(`write ${at} ${bytes.byteLength}`);
        file.write(at, bytes);
      },
      sync: () => {
        steps.push("sync");
        return file.sync();
      },
    });
    await fillWithZeros(watched, size, async () => void steps.push("pause"));
    return { steps, bytes: disk.readFile("data/spare") };
  }

  test("a small file: one step", async () => {
    const { steps, bytes } = await filled(4096);
    expect(steps).toEqual(["write 0 4096", "pause", "sync"]);
    expect(bytes).toEqual(new Uint8Array(4096));
  });

  test("a large one: a piece at a time, a sync after every fourth, the rest at the end", async () => {
    const { steps, bytes } = await filled(5 * MIB + 10);
    const piece = (i: number): string[] => [`write ${i * MIB} ${MIB}`];
    expect(steps).toEqual([
      ...[...piece(0), "pause", ...piece(1), "pause", ...piece(2), "pause"],
      ...[...piece(3), "sync", "pause", ...piece(4), "pause"],
      ...[`write ${5 * MIB} 10`, "pause", "sync"],
    ]);
    expect(bytes.byteLength).toBe(5 * MIB + 10);
  });
});

describe("a segment that is written to", () => {
  function created(size: number) {
    const disk = diskOf(1);
    const segment = createSegment(disk.files, "data/s", {
      header: HEADER,
      identity: IDENTITY,
      size,
    });
    return { disk, segment };
  }

  test("begins with its header, and its records behind it", () => {
    const { disk, segment } = created(2048);
    expect([segment.end, segment.size, segment.header]).toEqual([512, 2048, HEADER]);
    expect(disk.readFile("data/s")).toEqual(encodeSegmentHeader(HEADER, IDENTITY));
    segment.append(new Uint8Array(128).fill(1));
    segment.append(new Uint8Array(64).fill(2));
    expect(segment.end).toBe(512 + 192);
    const bytes = disk.readFile("data/s");
    expect([bytes[511], bytes[512], bytes[639], bytes[640]]).toEqual([0, 1, 1, 2]);
    expect(bytes.byteLength).toBe(704);
  });

  test("a record fits up to the last byte, and the first one always", () => {
    const { segment } = created(1024);
    expect([segment.fits(512), segment.fits(576), segment.fits(100_000)]).toEqual([
      true,
      true,
      true,
    ]);
    segment.append(new Uint8Array(64));
    expect([segment.fits(448), segment.fits(512)]).toEqual([true, false]);
  });
});
