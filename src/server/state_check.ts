/**
 * What the state as it is now refuses of a checked command, before it is proposed: it would cost
 * the log its bytes. What is decided when the entry is applied holds all the same.
 *
 * @module
 */

import { type CStoreError, ValidationError } from "../base/errors.ts";
import { DOCUMENT_SIZE_DEFAULT, EARLY_REQUEST_SIZE_MAX } from "../base/limits.ts";
import { NEWEST_RULES, THIRD_RULES } from "../base/rules_version.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { documentTooLarge } from "../database/refusals.ts";
import { fieldOfLaterRules } from "../protocol/encoding/catalog_command.ts";
import { decodeUntrustedCbor } from "../protocol/encoding/cbor.ts";
import { documentSizeMax } from "../protocol/encoding/collection_settings.ts";
import {
  COMMAND_HEADER_SIZE,
  COMMAND_KINDS,
  OperationCursor,
} from "../protocol/encoding/command.ts";

const UPGRADE = {
  remedy: "When all members run the newest build: `cstore cluster upgrade enable`",
} as const;

/** A command that `checkClientCommand` has let pass. */
export interface CheckedCommand {
  readonly body: Uint8Array;
  readonly view: DataView;
  readonly start: number;
  readonly end: number;
}

/** Why the command is refused; undefined when it is not. */
export function refusalNow(
  machine: Pick<DocumentStateMachine, "rules" | "collectionOrEmpty">,
  command: CheckedCommand,
): CStoreError | undefined {
  const { view, start, end } = command;
  const size = end - start;
  const isEarly = machine.rules < THIRD_RULES;
  // Members with builds of the earlier rules could not take the batch in.
  if (isEarly && size > EARLY_REQUEST_SIZE_MAX) {
    return new ValidationError(
      `Cannot execute the request: by rules ${machine.rules} it has at most ${EARLY_REQUEST_SIZE_MAX} bytes, this one has ${size}`,
      UPGRADE,
    );
  }
  switch (COMMAND_KINDS[view.getUint8(start + 4)]) {
    case "CATALOG":
      return machine.rules < NEWEST_RULES ? laterField(machine.rules, command) : undefined;
    case "DOCUMENTS":
      if (size <= DOCUMENT_SIZE_DEFAULT) return undefined;
      return largeDocument(machine, command, { from: start + COMMAND_HEADER_SIZE, end });
    case "TRANSACTION":
      return size > DOCUMENT_SIZE_DEFAULT ? largeWithin(machine, command) : undefined;
    default:
      return undefined;
  }
}

function laterField(rules: number, { body, start, end }: CheckedCommand): CStoreError | undefined {
  const request = decodeUntrustedCbor(body.subarray(start + COMMAND_HEADER_SIZE, end));
  const field = fieldOfLaterRules(request, rules);
  if (field === undefined) return undefined;
  return new ValidationError(
    `Cannot change the catalog: rules ${rules}, which this cluster follows, know no ${field}`,
    UPGRADE,
  );
}

/** One of the transaction's parts: the size of each stands before it, behind the conditions. */
function largeWithin(
  machine: Pick<DocumentStateMachine, "collectionOrEmpty">,
  command: CheckedCommand,
): CStoreError | undefined {
  const { view, start, end } = command;
  const body = start + COMMAND_HEADER_SIZE;
  for (let at = body + 4 + view.getUint32(body, true); at < end; ) {
    const next = at + 4 + view.getUint32(at, true);
    const problem = largeDocument(machine, command, { from: at + 4, end: next });
    if (problem !== undefined) return problem;
    at = next;
  }
  return undefined;
}

function largeDocument(
  machine: Pick<DocumentStateMachine, "collectionOrEmpty">,
  { body, view }: CheckedCommand,
  { from, end }: { readonly from: number; readonly end: number },
): CStoreError | undefined {
  const cursor = new OperationCursor();
  cursor.startAt(view, from, end);
  const name = new TextDecoder().decode(body.subarray(cursor.nameStart, cursor.nameEnd));
  const most = documentSizeMax(machine.collectionOrEmpty(name).settings);
  while (cursor.next()) {
    const size = cursor.documentEnd - cursor.documentStart;
    if (size > most) return documentTooLarge({ name, most }, size);
  }
  return undefined;
}
