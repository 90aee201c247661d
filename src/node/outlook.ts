/**
 * What makes the answers of a node's voters come late: long lines, and large documents.
 *
 * @module
 */

import { DOCUMENT_SIZE_DEFAULT } from "../base/limits.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import type { Clock } from "../platform/clock.ts";
import { documentSizeMax } from "../protocol/encoding/collection_settings.ts";
import type { NodeId } from "../raft/types.ts";
import type { Outlook } from "../replication/raft/pace.ts";
import type { NetworkManager } from "../transport/network_manager.ts";

/** A collection may be made meanwhile. */
const LOOK_MS = 1000;
/** Milliseconds for each MiB of a document: it is copied, checked, written and sent whole. */
const MS_PER_MIB = 100;
const MIB = 1024 * 1024;

/** What a node looks at. */
export interface OutlookParts {
  readonly clock: Clock;
  readonly network: Pick<NetworkManager, "linkHealth"> | undefined;
  readonly machine: Pick<DocumentStateMachine, "collections">;
  voters(): readonly NodeId[];
}

/** Makes a node's outlook; it is asked for often. */
export function outlookOf(parts: OutlookParts): () => Outlook {
  const { clock, network, machine, voters } = parts;
  let nextMs = 0;
  let workMs = 0;
  return () => {
    const nowMs = clock.nowMs();
    if (nowMs >= nextMs) {
      nextMs = nowMs + LOOK_MS;
      workMs = longestWork(machine);
    }
    const far = voters().map((id) => {
      const link = network?.linkHealth(id);
      return link?.isUp === true ? link.leastRttMs : 0;
    });
    return { rttMs: Math.max(0, ...far), workMs };
  };
}

/** Documents of the usual size are no work to speak of. */
function longestWork(machine: OutlookParts["machine"]): number {
  let largest = DOCUMENT_SIZE_DEFAULT;
  for (const { settings } of machine.collections()) {
    largest = Math.max(largest, documentSizeMax(settings));
  }
  return ((largest - DOCUMENT_SIZE_DEFAULT) / MIB) * MS_PER_MIB;
}
