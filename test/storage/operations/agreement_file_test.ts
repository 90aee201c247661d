/**
 * The file that says under which incarnation a node writes.
 *
 * @module
 */

import { expect, test } from "bun:test";
import {
  changeAgreement,
  NO_AGREEMENT,
  withCollection,
} from "../../../src/multi_master/operation/agreement_change.ts";
import {
  readAgreementFile,
  writeAgreementFile,
} from "../../../src/storage/operations/agreement_file.ts";
import { diskOf } from "../log_fixture.ts";

const AGREEMENT = changeAgreement(withCollection(NO_AGREEMENT, { strategy: "counter" }), {
  action: "open",
  node: "n1",
  origin: "n1/a",
});

test("it comes back as it was written, also after a power cut", async () => {
  const disk = diskOf(1);
  expect(readAgreementFile(disk.files, "data")).toBeUndefined();
  const kept = { origin: "n1/a", agreement: AGREEMENT, isSeeding: false };
  await writeAgreementFile(disk.files, "data", { ...kept, agreement: NO_AGREEMENT });
  await writeAgreementFile(disk.files, "data", kept);
  disk.cutPower();
  expect(readAgreementFile(disk.files, "data")).toEqual(kept);
});

test("one that is damaged anywhere is none", async () => {
  const disk = diskOf(1);
  await writeAgreementFile(disk.files, "data", {
    origin: "n1/a",
    agreement: AGREEMENT,
    isSeeding: false,
  });
  const { files } = disk;
  const file = files.open("data/agreement", "write");
  const size = file.size();
  for (let at = 0; at < size; at += 7) {
    const byte = new Uint8Array(1);
    file.read(at, byte);
    file.write(at, Uint8Array.of(byte[0]! ^ 1));
    expect(readAgreementFile(files, "data")).toBeUndefined();
    file.write(at, byte);
  }
  expect(readAgreementFile(files, "data")?.origin).toBe("n1/a");
  file.close();
});
