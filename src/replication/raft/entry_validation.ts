/**
 * Checks of entries from another node before they enter the log: once they are committed it is too
 * late to refuse them.
 *
 * @module
 */

import { checkId, parseEndpoint } from "../../base/address.ts";
import { ConfigError, ProtocolError } from "../../base/errors.ts";
import { checkKnownRules, FIRST_RULES } from "../../base/rules_version.ts";
import { zlibCompressor } from "../../platform/compression.ts";
import {
  batchCommands,
  decodeBatchHeader,
  isCompressed,
} from "../../protocol/encoding/batch_codec.ts";
import {
  bindingsIn,
  expiredIn,
  membersIn,
  rulesIn,
} from "../../protocol/encoding/cluster_command.ts";
import { Configuration, type Member } from "../../raft/configuration.ts";
import type { Entry } from "../../raft/types.ts";

/**
 * Throws ProtocolError for a batch that does not unpack, or members that cannot be; ConfigError for
 * rules that this build does not know.
 */
export function validateEntries(entries: readonly Entry[]): void {
  for (const { bytes, count } of entries) {
    if (isCompressed(bytes)) {
      batchCommands(bytes, decodeBatchHeader(bytes), zlibCompressor);
      continue;
    }
    const members = membersIn(bytes, count);
    if (members !== undefined) checkMembers(members);
    bindingsIn(bytes, count);
    expiredIn(bytes, count);
    checkKnownRules(rulesIn(bytes, count) ?? FIRST_RULES);
  }
}

function checkMembers(members: readonly Member[]): void {
  if (new Configuration(members).voters.length === 0) {
    throw new ProtocolError("Cannot take these members: no voter is among them");
  }
  try {
    for (const { id, address } of members) {
      checkId(id);
      if (address !== "") parseEndpoint(address);
    }
  } catch (cause) {
    if (!(cause instanceof ConfigError)) throw cause;
    throw new ProtocolError(`Cannot take these members: ${cause.message}`, { cause });
  }
}
