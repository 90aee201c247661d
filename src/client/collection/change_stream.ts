/**
 * Change streams over a {@link Client}.
 *
 * @module
 */

import type { Change, WatchOptions } from "../../api/changes.ts";
import { encodeCbor } from "../../protocol/encoding/cbor.ts";
import { readLevelNumber } from "../../protocol/wire/client_message.ts";
import { decodeWatchReply } from "../../protocol/wire/reply.ts";
import type { Client } from "../connection/client.ts";

/** Longest time that a node lets one request wait. */
const WAIT_MS = 1000;

/**
 * Changes in order, without gaps, until the caller stops. It goes on at another node after a
 * failover. Throws CompactedError when changes behind `since` are not kept any more, NotFoundError
 * when the cluster has no such position, DeadlineError when no node answers.
 */
export async function* watchChanges<T>(
  client: Client,
  options: WatchOptions,
): AsyncGenerator<Change<T>, void, undefined> {
  const { collection = "", onPosition, signal } = options;
  let { since } = options;
  const aborted = new Promise<undefined>((resolve) => {
    signal?.addEventListener("abort", () => resolve(undefined), { once: true });
  });
  let isFirst = true;
  while (signal?.aborted !== true) {
    // The first answer says where the stream begins, and does not wait: it could be lost meanwhile.
    const waitMs = since === undefined ? 0 : WAIT_MS;
    const fields = { action: "watch", collection, waitMs, since };
    const body = encodeCbor(fields).slice();
    const asked = client.execute({
      kind: "QUERY",
      target: "leader",
      write: (writer) => {
        // It begins behind all that was answered before, and not behind what never was: that only
        // a leader knows.
        writer.u8(readLevelNumber(isFirst ? "linearizable" : "stale")).raw(body);
      },
    });
    const payload = await Promise.race([asked, aborted]);
    if (payload === undefined) {
      asked.catch(() => undefined); // No caller waits for it any more.
      return;
    }
    isFirst = false;
    const page = decodeWatchReply<Change<T>>(payload);
    for (const change of page.changes) {
      yield change;
      since = change.sequence;
    }
    since = page.since;
    onPosition?.(since);
  }
}
