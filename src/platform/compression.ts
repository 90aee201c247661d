/**
 * Compression by node:zlib, always with a bound on the output. Where the runtime has no zstd
 * (Node 20) only deflate-raw is there.
 *
 * @module
 */

import * as zlib from "node:zlib";
import { unreachable } from "../base/assert.ts";
import { ProtocolError } from "../base/errors.ts";

/** How bytes are packed. */
export type Codec = "none" | "zstd" | "deflate-raw";

/** Whether this runtime can read and write a codec. */
export function hasCodec(codec: Codec): boolean {
  return codec !== "zstd" || typeof zlib.zstdCompressSync === "function";
}

/** The smaller form, or undefined when the bytes do not shrink. */
export function compress(codec: Codec, raw: Uint8Array): Uint8Array | undefined {
  const packed = pack(codec, raw);
  return packed.byteLength < raw.byteLength ? packed : undefined;
}

function pack(codec: Codec, raw: Uint8Array): Uint8Array {
  switch (codec) {
    case "none":
      return raw;
    case "zstd": {
      const level = zlib.constants.ZSTD_c_compressionLevel;
      return zlib.zstdCompressSync(raw, { params: { [level]: 1 } });
    }
    case "deflate-raw":
      return zlib.deflateRawSync(raw, { level: 1 });
    default:
      return unreachable(codec);
  }
}

/**
 * Exactly `rawSize` bytes, or ProtocolError. The result's size is checked because zstd gives short
 * output for truncated input without an error.
 */
export function decompress(codec: Codec, stored: Uint8Array, rawSize: number): Uint8Array {
  const raw = unpack(codec, stored, rawSize);
  if (raw.byteLength !== rawSize) {
    throw new ProtocolError(
      `Cannot decompress: ${raw.byteLength} bytes came out, ${rawSize} were declared`,
    );
  }
  return raw;
}

function unpack(codec: Codec, stored: Uint8Array, rawSize: number): Uint8Array {
  if (codec === "none") return stored;
  if (!hasCodec(codec)) throw new ProtocolError(`Cannot decompress: this runtime has no ${codec}`);
  const maxOutputLength = Math.max(1, rawSize);
  try {
    if (codec === "zstd") return zlib.zstdDecompressSync(stored, { maxOutputLength });
    return zlib.inflateRawSync(stored, { maxOutputLength });
  } catch (cause) {
    throw new ProtocolError(`Cannot decompress ${stored.byteLength} bytes of ${codec}`, { cause });
  }
}

/** The functions as one thing to pass on. */
export const zlibCompressor = { compress, decompress };
