/**
 * A batch: the operations of one turn, one log entry. The same bytes on disk and on the wire, on
 * every node. 64 bytes of header, then the stored body: commands one after the other (see
 * `command.ts`), compressed or not. Integers are unsigned, little-endian.
 *
 * | offset | size | field          | meaning                                                   |
 * | -----: | ---: | -------------- | --------------------------------------------------------- |
 * |      0 |    4 | headerChecksum | xxh32 of bytes 4..64, seed 0                              |
 * |      4 |    2 | magic          | 0x4243                                                    |
 * |      6 |    1 | format         | 1                                                         |
 * |      7 |    1 | codec          | 0 none, 1 zstd, 2 deflate-raw                             |
 * |      8 |    4 | rawSize        | bytes of the commands, at most `BATCH_BODY_SIZE_MAX`      |
 * |     12 |    4 | storedSize     | bytes after the header                                    |
 * |     16 |    8 | term           | of the entry                                              |
 * |     24 |    8 | index          | of the entry                                              |
 * |     32 |    8 | firstSequence  | sequence number of the first operation                    |
 * |     40 |    4 | count          | operations, at least 1                                    |
 * |     44 |    4 | reserved       | 0                                                         |
 * |     48 |    8 | time           | leader's wall clock, ms since 1970; 0 = not stamped       |
 * |     56 |    8 | bodyChecksum   | xxh64 of the stored body, seed 0                          |
 *
 * The body is compressed and checksummed before the entry gets its place; the header is sealed
 * once, when term, index and firstSequence are known. No other module encodes batches.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { ByteReader, ByteWriter, plainBytes, rangeOf, u32At } from "../../base/bytes.ts";
import { ProtocolError } from "../../base/errors.ts";
import { BATCH_BODY_SIZE_MAX, COMPRESSION_SIZE_MIN } from "../../base/limits.ts";
import { checksum32, checksum64 } from "./checksum.ts";

/** Bytes of the header. */
export const BATCH_HEADER_SIZE = 64;
/** "CB" in memory order. */
export const BATCH_MAGIC = 0x4243;
const BATCH_FORMAT = 1;

/** The codecs by their number in the header. */
export const BATCH_CODECS = ["none", "zstd", "deflate-raw"] as const;

/** The codec of a stored body. */
export type BatchCodec = (typeof BATCH_CODECS)[number];

/** Compression, given by the caller because it belongs to the platform. */
export interface Compressor {
  /** The smaller form, or undefined when the bytes do not shrink. */
  compress(codec: BatchCodec, raw: Uint8Array): Uint8Array | undefined;
  /** Exactly `rawSize` bytes, or ProtocolError. */
  decompress(codec: BatchCodec, stored: Uint8Array, rawSize: number): Uint8Array;
}

/** The fields of a batch's header. */
export interface BatchHeader {
  readonly codec: BatchCodec;
  /** `storedSize <= rawSize <= BATCH_BODY_SIZE_MAX`; equal for the codec `none`. */
  readonly rawSize: number;
  /** Bytes of the batch are `BATCH_HEADER_SIZE + storedSize`. */
  readonly storedSize: number;
  readonly term: number;
  readonly index: number;
  /** The operations have the sequence numbers `firstSequence <= n < firstSequence + count`. */
  readonly firstSequence: number;
  readonly count: number;
  readonly timeMs: number;
  readonly bodyChecksum: bigint;
}

/** A body that is final, in a buffer with room for the header in front of it. */
export interface PreparedBatch {
  readonly bytes: Uint8Array;
  readonly codec: BatchCodec;
  /** `bytes.byteLength - BATCH_HEADER_SIZE <= rawSize <= BATCH_BODY_SIZE_MAX` */
  readonly rawSize: number;
  readonly count: number;
  readonly timeMs: number;
  readonly bodyChecksum: bigint;
}

/** Bodies stored as they are. */
export const UNCOMPRESSED = {
  codec: "none",
  compressor: {
    compress: () => undefined,
    decompress: (_codec: string, stored: Uint8Array) => stored,
  },
} as const;

/** The place that consensus gave to a batch. */
export interface BatchPlace {
  readonly term: number;
  /** `1 <= index <= firstSequence`: each entry takes at least one sequence number. */
  readonly index: number;
  readonly firstSequence: number;
}

/**
 * Finishes a body. `bytes` holds `BATCH_HEADER_SIZE` bytes of room and then the commands; the
 * result uses the same buffer unless compression made a smaller one.
 */
export function prepareBatch(
  bytes: Uint8Array,
  fields: { readonly count: number; readonly timeMs: number },
  compression: { readonly codec: BatchCodec; readonly compressor: Compressor },
): PreparedBatch {
  assert(bytes.byteLength >= BATCH_HEADER_SIZE, "a batch begins with room for its header");
  const raw = rangeOf(bytes, BATCH_HEADER_SIZE);
  assert(raw.byteLength <= BATCH_BODY_SIZE_MAX, () => `a batch body of ${raw.byteLength} bytes`);
  assert(fields.count >= 1, "a batch holds at least one operation");
  const wanted = raw.byteLength >= COMPRESSION_SIZE_MIN ? compression.codec : "none";
  const smaller = wanted === "none" ? undefined : compression.compressor.compress(wanted, raw);
  if (smaller === undefined) {
    return {
      ...fields,
      bytes,
      codec: "none",
      rawSize: raw.byteLength,
      bodyChecksum: checksum64(raw),
    };
  }
  assert(smaller.byteLength < raw.byteLength, "a compressed body is smaller than the raw one");
  const packed = new Uint8Array(BATCH_HEADER_SIZE + smaller.byteLength);
  packed.set(smaller, BATCH_HEADER_SIZE);
  const bodyChecksum = checksum64(smaller);
  return { ...fields, bytes: packed, codec: wanted, rawSize: raw.byteLength, bodyChecksum };
}

/** Writes the header, once. The bytes are final after it. */
export function sealBatch(batch: PreparedBatch, place: BatchPlace): Uint8Array {
  const { bytes } = batch;
  const storedSize = bytes.byteLength - BATCH_HEADER_SIZE;
  assert(bytes.byteLength >= BATCH_HEADER_SIZE, "a batch begins with room for its header");
  assert(place.index <= place.firstSequence, "each entry takes at least one sequence number");
  const header = new ByteWriter(BATCH_HEADER_SIZE);
  header.reserve(4);
  header.u16(BATCH_MAGIC).u8(BATCH_FORMAT);
  header.u8(BATCH_CODECS.indexOf(batch.codec));
  header.u32(batch.rawSize).u32(storedSize);
  header.u64(place.term).u64(place.index).u64(place.firstSequence);
  header.u32(batch.count).u32(0).u64(batch.timeMs).big64(batch.bodyChecksum);
  assert(header.size === BATCH_HEADER_SIZE, "the fields fill the header");
  header.patchU32(0, checksum32(rangeOf(header.written(), 4)));
  bytes.set(header.written());
  return bytes;
}

/** Bytes of the untrusted batch at `at`, as its header has them; nothing is verified. */
export function batchSizeAt(bytes: Uint8Array, at: number): number {
  assert(at <= bytes.byteLength, "a batch begins inside of the bytes or at their end");
  const hasHeader = bytes.byteLength - at >= BATCH_HEADER_SIZE;
  return BATCH_HEADER_SIZE + (hasHeader ? u32At(bytes, at + 12) : 0);
}

/** Whether the body of a verified batch is compressed. */
export function isCompressed(bytes: Uint8Array): boolean {
  assert(bytes.byteLength >= BATCH_HEADER_SIZE, "a verified batch has a whole header");
  return bytes[7] !== BATCH_CODECS.indexOf("none");
}

/** Reads an untrusted header. Throws ProtocolError. */
export function decodeBatchHeader(bytes: Uint8Array): BatchHeader {
  if (bytes.byteLength < BATCH_HEADER_SIZE) {
    throw new ProtocolError(
      `Cannot read batch: ${bytes.byteLength} bytes are less than its header`,
    );
  }
  const reader = new ByteReader(bytes);
  if (reader.u32() !== checksum32(rangeOf(bytes, 4, BATCH_HEADER_SIZE))) {
    throw new ProtocolError("Cannot read batch: its header checksum does not match");
  }
  const magic = reader.u16();
  const format = reader.u8();
  if (magic !== BATCH_MAGIC || format !== BATCH_FORMAT) {
    throw new ProtocolError(`Cannot read batch: format ${format} is unknown`);
  }
  const codec = BATCH_CODECS[reader.u8()];
  const [rawSize, storedSize] = [reader.u32(), reader.u32()];
  const [term, index, firstSequence] = [reader.u64(), reader.u64(), reader.u64()];
  const count = reader.u32();
  if (codec === undefined || reader.u32() !== 0) {
    throw new ProtocolError(`Cannot read batch: codec ${bytes[7]} is unknown`);
  }
  const [timeMs, bodyChecksum] = [reader.u64(), reader.big64()];
  assert(reader.offset === BATCH_HEADER_SIZE, "the fields fill the header");
  const header: BatchHeader = {
    codec,
    rawSize,
    storedSize,
    term,
    index,
    firstSequence,
    count,
    timeMs,
    bodyChecksum,
  };
  const numbers = header.term + header.index + header.firstSequence + header.timeMs;
  const isSized =
    header.rawSize <= BATCH_BODY_SIZE_MAX &&
    header.storedSize <= header.rawSize &&
    (header.codec !== "none" || header.storedSize === header.rawSize);
  if (!isSized || header.count < 1 || !Number.isSafeInteger(numbers)) {
    throw new ProtocolError("Cannot read batch: a number in its header is out of range");
  }
  return header;
}

/** Reads and verifies a whole batch. Throws ProtocolError. */
export function verifyBatch(bytes: Uint8Array): BatchHeader {
  const header = decodeBatchHeader(bytes);
  const body = rangeOf(bytes, BATCH_HEADER_SIZE);
  if (body.byteLength !== header.storedSize) {
    throw new ProtocolError(
      `Cannot read batch: ${body.byteLength} bytes of body, ${header.storedSize} were declared`,
    );
  }
  if (checksum64(body) !== header.bodyChecksum) {
    throw new ProtocolError("Cannot read batch: its body checksum does not match");
  }
  return header;
}

/** The commands of a verified batch. A view when the body is stored as it is. */
export function batchCommands(
  bytes: Uint8Array,
  header: BatchHeader,
  compressor: Compressor,
): Uint8Array {
  const stored = bytes.subarray(BATCH_HEADER_SIZE);
  assert(stored.byteLength === header.storedSize, "the body is the one of the verified header");
  if (header.codec === "none") return plainBytes(stored);
  const raw = compressor.decompress(header.codec, stored, header.rawSize);
  assert(raw.byteLength === header.rawSize, "a compressor gives exactly the declared size");
  return plainBytes(raw);
}
