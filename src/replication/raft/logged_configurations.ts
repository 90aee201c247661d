/**
 * Configurations of consensus and the batches that carry them.
 *
 * @module
 */

import { membersIn } from "../../protocol/encoding/cluster_command.ts";
import { Configuration, type LoggedConfiguration } from "../../raft/configuration.ts";
import type { Entry } from "../../raft/types.ts";

/** The configuration that an entry sets; undefined for all others. Throws ProtocolError. */
export function configurationOf(entry: Entry): Configuration | undefined {
  const members = membersIn(entry.bytes, entry.count);
  return members && new Configuration(members);
}

/** The configurations that a node begins with: the snapshot's, and those in the log behind it. */
export function loggedConfigurations(
  base: LoggedConfiguration,
  entries: readonly Entry[],
): LoggedConfiguration[] {
  const logged = [base];
  for (const entry of entries) {
    const configuration = entry.index > base.index ? configurationOf(entry) : undefined;
    if (configuration !== undefined) logged.push({ index: entry.index, configuration });
  }
  return logged;
}
