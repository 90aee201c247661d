/**
 * The whole state for a backup, and the log for an archive, page by page.
 *
 * @module
 */

import { ByteReader } from "../base/bytes.ts";
import { decodeLogReply } from "../protocol/wire/reply.ts";
import type { QueryRequestFields } from "../protocol/wire/request.ts";
import { ask, Pages, type QueryTarget } from "./collection/query_client.ts";
import type { Client } from "./connection/client.ts";

/** The blocks of a backup, in order. Throws CursorLostError when the node with them is gone. */
export async function* backupBlocks(client: Client): AsyncGenerator<Uint8Array, void> {
  const target = {
    ...{ collection: "", idField: "id", timeoutMs: undefined },
    level: "linearizable",
  } as const;
  let request: QueryRequestFields = { action: "backup" };
  const pages = new Pages(client, target);
  while (true) {
    const reader = new ByteReader(await pages.ask(request));
    const cursor = reader.u64();
    if (cursor === 0) return;
    yield reader.take(reader.u32()).slice();
    request = { action: "backupNext", cursor };
  }
}

/** Batches of the log behind an entry, as they stand there; none when there are no more. */
export async function logBatches(
  client: Client,
  after: { readonly index: number; readonly term: number },
): Promise<readonly Uint8Array[]> {
  const target = { collection: "", idField: "id", level: "linearizable", timeoutMs: undefined };
  const request = { action: "log", after: after.index, term: after.term } as const;
  return decodeLogReply(await ask(client, target as QueryTarget, request));
}
