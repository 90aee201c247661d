/**
 * Results of operations: exact bytes, and refusals of payloads that no node writes.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../src/base/bytes.ts";
import { ProtocolError } from "../../../src/base/errors.ts";
import {
  type OperationResult,
  readOperationResults,
  writeOperationResult,
} from "../../../src/protocol/encoding/operation_result.ts";

const FOUND: OperationResult = { found: true, version: 5, document: Uint8Array.of(0xa1, 0x61) };
const WRITTEN: OperationResult = { found: true, version: 2 ** 53 - 1, document: undefined };
const ABSENT: OperationResult = { found: false, version: 0, document: undefined };

function payloadOf(results: readonly OperationResult[]): Uint8Array {
  const writer = new ByteWriter(8);
  for (const result of results) writeOperationResult(writer, result);
  return writer.copy();
}

describe("results", () => {
  test.each<readonly [string, OperationResult, string]>([
    ["a document", FOUND, "01 0500000000000000 02000000 a161"],
    ["a version alone", WRITTEN, "01 ffffffffffff1f00 00000000"],
    ["an absent document", ABSENT, "02 0000000000000000 00000000"],
  ])("%s has exactly these bytes", (_name, result, hex) => {
    expect(Buffer.from(payloadOf([result])).toString("hex")).toBe(hex.replaceAll(" ", ""));
  });

  test("results are read in the order in which they were written", () => {
    expect(readOperationResults(payloadOf([]))).toEqual([]);
    for (const results of [[FOUND], [ABSENT], [WRITTEN, FOUND, ABSENT, FOUND, WRITTEN]]) {
      expect(readOperationResults(payloadOf(results))).toEqual(results);
    }
  });

  test("documents are views of the payload", () => {
    const payload = payloadOf([FOUND]);
    expect(readOperationResults(payload)[0]?.document?.buffer).toBe(payload.buffer);
  });

  test.each([0, 3, 255])("the outcome %d is refused", (outcome) => {
    const payload = payloadOf([FOUND]);
    payload[0] = outcome;
    expect(() => readOperationResults(payload)).toThrow(
      new ProtocolError(`Cannot read outcome ${outcome}`),
    );
  });

  test("every cut inside of a result is refused", () => {
    const payload = payloadOf([WRITTEN, FOUND]);
    const ends = [0, 13, payload.byteLength];
    for (let end = 0; end <= payload.byteLength; end += 1) {
      const cut = payload.subarray(0, end);
      if (ends.includes(end)) expect(readOperationResults(cut)).toHaveLength(ends.indexOf(end));
      else expect(() => readOperationResults(cut)).toThrow(ProtocolError);
    }
  });
});
