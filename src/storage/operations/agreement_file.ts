/**
 * The file `agreement` in a data directory: under which incarnation the node writes, and what the
 * nodes had agreed upon when it did last. It is written before anything is logged that rests on it,
 * so that a node goes on from its own disk, also when it is cut off. xxh64 of the rest (8 bytes,
 * little-endian), then a CBOR map {format, origin, agreement}, and {isSeeding} while the node waits
 * for another one's state.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { CStoreError } from "../../base/errors.ts";
import { isFields } from "../../base/value.ts";
import { DISK_FORMAT_VERSION } from "../../base/version.ts";
import type { Agreement } from "../../multi_master/operation/agreement.ts";
import type { Origin } from "../../multi_master/operation/dot.ts";
import type { FileSystem } from "../../platform/file_system.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import { agreementFields, readAgreement } from "../../protocol/operations/agreement_codec.ts";
import {
  bodyBehindChecksum,
  readSmallFile,
  withChecksum,
  writeFileDurably,
} from "../data_directory.ts";

const NAME = "agreement";
/** Bytes; an incarnation that is over takes about 50, a collection up to 10 KiB. */
const SIZE_MAX = 64 * 1024 * 1024;

/** What the file holds. */
export interface KeptAgreement {
  readonly origin: Origin;
  readonly agreement: Agreement;
  /** The node waits for another one's state: what its log and files hold does not count. */
  readonly isSeeding: boolean;
}

/** The agreement in a directory; undefined without a file, or where it is damaged. */
export function readAgreementFile(files: FileSystem, directory: string): KeptAgreement | undefined {
  const bytes = readSmallFile(files, `${directory}/${NAME}`, SIZE_MAX);
  const body = bytes && bodyBehindChecksum(bytes);
  if (body === undefined) return undefined;
  try {
    const fields = decodeUntrustedCbor(body);
    if (!isFields(fields) || typeof fields["origin"] !== "string") return undefined;
    const agreement = readAgreement(fields["agreement"]);
    assert(agreement.version >= 0, "an agreement has a version");
    return { origin: fields["origin"], agreement, isSeeding: fields["isSeeding"] === true };
  } catch (error) {
    if (!(error instanceof CStoreError)) throw error;
    return undefined;
  }
}

/** Replaces the file. Rejects with StorageError. */
export async function writeAgreementFile(
  files: FileSystem,
  directory: string,
  { origin, agreement, isSeeding }: KeptAgreement,
): Promise<void> {
  assert(origin.length > 0, "an incarnation has a name");
  assert(agreement.version >= agreement.floor.round, "each round of the floor was a version");
  const named = { format: DISK_FORMAT_VERSION, origin, ...(isSeeding && { isSeeding }) };
  const fields = { ...named, agreement: agreementFields(agreement) };
  const bytes = withChecksum(encodeCbor(fields));
  assert(bytes.byteLength <= SIZE_MAX, "a reader reads the whole file");
  await writeFileDurably(files, { directory, name: NAME, bytes });
}
