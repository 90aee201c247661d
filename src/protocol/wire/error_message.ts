/**
 * An error on its way to another process: number (2, see `ERROR_CODES`), message (text), remedy
 * (text, empty for none), size of the fields (2), fields (a CBOR map with names of `ErrorFields`).
 * Texts and numbers only; a reader drops names and types that it does not know.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { type ByteReader, type ByteWriter, EMPTY_BYTES } from "../../base/bytes.ts";
import { type CStoreError, ERROR_CODES, type ErrorFields, errorNumber } from "../../base/errors.ts";
import { isFields } from "../../base/value.ts";
import { decodeUntrustedCbor, encodeCbor } from "../encoding/cbor.ts";
import { errorFromNumber } from "../encoding/error_maker.ts";

/** Number, and the sizes of message, remedy and fields. */
const ERROR_SIZE_MIN = 8;
/** Larger fields are left out: an error must fit a frame before the handshake. */
const FIELDS_SIZE_MAX = 4096;
const MESSAGE_LENGTH_MAX = 2000;
const REMEDY_LENGTH_MAX = 500;
const FIELD_LENGTH_MAX = 512;

type FieldTest = (value: unknown) => boolean;
const isText: FieldTest = (value) => typeof value === "string";
const isCount: FieldTest = (value) => Number.isSafeInteger(value) && (value as number) >= 0;

/** What may stand under each name; anything else is neither sent nor taken. */
const FIELD_TESTS: Readonly<Record<keyof ErrorFields, FieldTest>> = {
  collection: isText,
  index: isText,
  id: (value) => isText(value) || Number.isFinite(value),
  path: isText,
  nodeId: isText,
  incarnation: isText,
  leaderId: isText,
  leaderAddress: isText,
  retryAfterMs: isCount,
  actualVersion: isCount,
  acknowledgements: isCount,
  of: isCount,
  mode: isText,
  file: isText,
  byte: isCount,
};

/** Appends an error. */
export function writeErrorMessage(writer: ByteWriter, error: CStoreError): void {
  const start = writer.size;
  writer.u16(errorNumber(error.code)).text(error.message.slice(0, MESSAGE_LENGTH_MAX));
  writer.text((error.remedy ?? "").slice(0, REMEDY_LENGTH_MAX));
  const entries = Object.entries(knownFields(error.fields));
  if (entries.length === 0) {
    writer.u16(0);
    assert(writer.size >= start + ERROR_SIZE_MIN, "an error has a number and three sizes");
    return;
  }
  const shown = entries.map(([name, value]) => {
    return [name, typeof value === "string" ? shortened(value) : value];
  });
  assert(errorNumber(error.code) < ERROR_CODES.length, "every code has a number");
  const encoded = encodeCbor(Object.fromEntries(shown));
  const bytes = encoded.byteLength <= FIELDS_SIZE_MAX ? encoded : EMPTY_BYTES;
  assert(bytes.byteLength <= FIELDS_SIZE_MAX, "the fields of an error are few and short");
  const fieldsAt = writer.size;
  writer.u16(bytes.byteLength).raw(bytes);
  assert(writer.size === fieldsAt + 2 + bytes.byteLength, "the fields are written whole");
}

/** Reads an untrusted error. Throws ProtocolError. */
export function readErrorMessage(reader: ByteReader): CStoreError {
  const number = reader.u16();
  const message = reader.text();
  const remedy = reader.text();
  // The body of an ERROR frame may end here: the first builds sent no fields.
  const size = reader.remaining === 0 ? 0 : reader.u16();
  const end = reader.offset + size;
  const fields = size === 0 ? {} : knownFields(decodeUntrustedCbor(reader.take(size)));
  assert(reader.offset === end, "the fields are read whole, and nothing behind them");
  return errorFromNumber(number, { message, ...(remedy !== "" && { remedy }), fields });
}

/** A cut through a surrogate pair would leave a text that no encoder takes. */
function shortened(text: string): string {
  const cut = text.slice(0, FIELD_LENGTH_MAX).toWellFormed();
  assert(cut.length <= FIELD_LENGTH_MAX, "a lone surrogate is replaced by one unit");
  return cut;
}

function knownFields(value: unknown): ErrorFields {
  if (!isFields(value)) return {};
  const known = Object.entries(FIELD_TESTS).filter(([name, test]) => test(value[name]));
  assert(known.length <= Object.keys(value).length, "no field is added");
  return Object.fromEntries(known.map(([name]) => [name, value[name]]));
}
