/**
 * Change streams over a {@link Client}.
 *
 * @module
 */

import { decodeUntrustedCbor, encodeCbor } from "../protocol/cbor.ts";
import { readLevelNumber } from "../protocol/client_message.ts";
import type { DocumentId } from "../protocol/document_key.ts";
import type { Client } from "./client.ts";

/** Longest time that a node lets one request wait. */
const WAIT_MS = 1000;

interface ChangePlace {
  /** Its place: what is watched `since` this comes behind it. Also the document's version. */
  readonly sequence: number;
  /** When the leader logged it, in ms since 1970. */
  readonly timeMs: number;
  readonly collection: string;
}

/** A document was inserted, or put whether there was one or not. */
export interface PutChange extends ChangePlace {
  readonly type: "insert" | "put";
  readonly id: DocumentId;
  readonly document: unknown;
  readonly change?: undefined;
}

/** A document was changed, or made by an upsert. */
export interface UpdateChange extends ChangePlace {
  readonly type: "update";
  readonly id: DocumentId;
  /** As it is, if nothing has changed it since. */
  readonly document?: unknown;
  /** Merged fields, or operators. */
  readonly change: unknown;
}

/** A document was removed; or, `drop`, a collection with all its documents. */
export interface RemoveChange extends ChangePlace {
  readonly type: "remove" | "drop";
  /** Undefined for `drop`. */
  readonly id?: DocumentId;
  readonly document?: undefined;
  readonly change?: undefined;
}

/** One change that took effect, in the order of all changes. */
export type Change = PutChange | UpdateChange | RemoveChange;

/** What is watched, and from where. */
export interface WatchOptions {
  /** Sequence number of the last change that is known; from now on unless set. */
  readonly since?: number;
  /** Of one collection only. */
  readonly collection?: string;
  /** Ends the stream, also while it waits. */
  readonly signal?: AbortSignal;
  /** Called with each place that was reached, also when nothing was to be told. */
  readonly onPosition?: (since: number) => void;
}

/**
 * Changes in order, without gaps, until the caller stops. It goes on at another node after a
 * failover. Throws CompactedError when what is behind `since` is not kept any more, DeadlineError
 * when nobody answers.
 */
export async function* watchChanges(
  client: Client,
  options: WatchOptions,
): AsyncGenerator<Change, void, undefined> {
  const { collection = "", onPosition, signal } = options;
  let { since } = options;
  const aborted = new Promise<undefined>((resolve) => {
    signal?.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  while (signal?.aborted !== true) {
    // The first answer says where the stream begins, and does not wait: it could be lost meanwhile.
    const waitMs = since === undefined ? 0 : WAIT_MS;
    const fields = { action: "watch", collection, waitMs, since };
    const body = encodeCbor(fields).slice();
    const asked = client.execute({
      kind: "QUERY",
      target: "leader",
      write: (writer) => {
        // It begins behind all that was answered before: that only a leader knows.
        writer.u8(readLevelNumber(since === undefined ? "linearizable" : "stale")).raw(body);
      },
    });
    const payload = await Promise.race([asked, aborted]);
    if (payload === undefined) {
      asked.catch(() => undefined); // Nobody waits for it any more.
      return;
    }
    const page = decodeUntrustedCbor(payload) as { since: number; changes: readonly Change[] };
    for (const change of page.changes) {
      yield change;
      since = change.sequence;
    }
    since = page.since;
    onPosition?.(since);
  }
}
