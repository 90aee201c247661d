/**
 * Bytes: checksums, frames, batches, commands, the gate before untrusted CBOR, and CBOR itself.
 *
 * @module
 */

import { ByteWriter, viewOf } from "../../src/base/bytes.ts";
import {
  BATCH_HEADER_SIZE,
  prepareBatch,
  sealBatch,
  verifyBatch,
} from "../../src/protocol/encoding/batch_codec.ts";
import { decodeCbor, encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import { checkCbor } from "../../src/protocol/encoding/cbor_gate.ts";
import { checksum32, checksum64 } from "../../src/protocol/encoding/checksum.ts";
import {
  checkClientCommand,
  encodeCollectionName,
  writeDocumentsCommand,
} from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import { FrameDecoder } from "../../src/protocol/wire/frame_decoder.ts";
import { encodeFrame } from "../../src/protocol/wire/frame_header.ts";
import { type MicroGroup, type MicroTask, runMicro } from "./micro_runner.ts";

/** Calls in one sample: a single one is too short for the clock. */
const REPEATS = 1000;
const COMMANDS = 512;
const PLAIN = {
  codec: "none",
  compressor: {
    compress: () => undefined,
    decompress: (_codec: string, stored: Uint8Array) => stored,
  },
} as const;
const COLLECTION = encodeCollectionName("bench");
const KEY = encodeKey("key-00000000");
const OBJECT = {
  id: "key-00000000",
  name: "a name of thirty characters ..",
  age: 42,
  email: "someone@example.com",
  balance: 1234.5,
  active: true,
  tags: ["red", "green"],
};
const DOCUMENT = encodeCbor(OBJECT).slice();

/** `sink` takes every result, so that no call can be left out as useless. */
function repeated(name: string, call: (sink: { value: unknown }) => void): MicroTask {
  const sink = { value: undefined as unknown };
  const run = (): void => {
    for (let i = 0; i < REPEATS; i += 1) call(sink);
  };
  return { name, operations: REPEATS, run };
}

function checksums(): MicroTask[] {
  const tasks: MicroTask[] = [];
  for (const size of [128, 4096, 65_536]) {
    const bytes = new Uint8Array(size).fill(7);
    tasks.push(
      repeated(`xxh32 of ${size} bytes`, (sink) => {
        sink.value = checksum32(bytes);
      }),
      repeated(`xxh64 of ${size} bytes`, (sink) => {
        sink.value = checksum64(bytes);
      }),
    );
  }
  return tasks;
}

function frames(): MicroTask[] {
  const body = new Uint8Array(16_384).fill(3);
  const frame = encodeFrame("REQUESTS", 1, body);
  const decoder = new FrameDecoder();
  decoder.allowLargeFrames();
  return [
    repeated("frame of 16 KiB: encode and seal", (sink) => {
      sink.value = encodeFrame("REQUESTS", 1, body);
    }),
    repeated("frame of 16 KiB: decode and verify", (sink) => {
      decoder.push(frame, (decoded) => {
        sink.value = decoded;
      });
    }),
  ];
}

function writeCommand(writer: ByteWriter, requestNumber: number): void {
  const identity = { sessionId: 1, requestNumber, acknowledgedBelow: 1 };
  const operations = [{ kind: "PUT", key: KEY, document: DOCUMENT } as const];
  writeDocumentsCommand(writer, identity, { collection: COLLECTION, operations });
}

function batches(): MicroTask[] {
  const writer = new ByteWriter(1024 * 1024);
  writer.reserve(BATCH_HEADER_SIZE);
  for (let number = 1; number <= COMMANDS; number += 1) writeCommand(writer, number);
  const room = writer.copy();
  const place = { term: 1, index: 1, firstSequence: 1 };
  const fields = { count: COMMANDS, timeMs: 1 };
  const sealed = sealBatch(prepareBatch(room.slice(), fields, PLAIN), place);
  return [
    repeated(`batch of ${COMMANDS} commands: seal`, (sink) => {
      sink.value = sealBatch(prepareBatch(room, fields, PLAIN), place);
    }),
    repeated(`batch of ${COMMANDS} commands: verify`, (sink) => {
      sink.value = verifyBatch(sealed);
    }),
  ];
}

function commands(): MicroTask[] {
  const writer = new ByteWriter(1024);
  writeCommand(writer, 1);
  const bytes = writer.copy();
  const view = viewOf(bytes);
  const range = { start: 0, end: bytes.byteLength };
  return [
    repeated("command with one put: encode", (sink) => {
      writer.rewind(0);
      writeCommand(writer, 1);
      sink.value = writer.size;
    }),
    repeated("command with one put: check", (sink) => {
      sink.value = checkClientCommand(bytes, view, range);
    }),
  ];
}

function cbor(): MicroTask[] {
  const size = DOCUMENT.byteLength;
  return [
    repeated(`CBOR of ${size} bytes: gate`, (sink) => {
      sink.value = checkCbor(DOCUMENT, 0, size);
    }),
    repeated(`CBOR of ${size} bytes: encode`, (sink) => {
      sink.value = encodeCbor(OBJECT);
    }),
    repeated(`CBOR of ${size} bytes: decode`, (sink) => {
      sink.value = decodeCbor(DOCUMENT);
    }),
  ];
}

/** One core, nothing else. */
export const CODEC_BENCH: MicroGroup = {
  name: "codec",
  async open() {
    return {
      tasks: [...checksums(), ...frames(), ...batches(), ...commands(), ...cbor()],
      close: async () => {},
    };
  },
};

if (import.meta.main) await runMicro([CODEC_BENCH]);
