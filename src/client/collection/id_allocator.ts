/**
 * Ids of collections that number their documents. The cluster gives each number out once, by an
 * entry of its log; callers that wait at the same time share one request.
 *
 * @module
 */

import { OPERATIONS_PER_REQUEST_MAX } from "../../base/limits.ts";
import type { Client } from "../connection/client.ts";
import { nextIds } from "./catalog_client.ts";

interface Waiter {
  readonly count: number;
  resolve(ids: readonly number[]): void;
  reject(error: unknown): void;
}

/** The numbers of one database's collections. */
export class IdAllocator {
  readonly #client: () => Client | Promise<Client>;
  /** By collection; a name stands here while a request for it is under way. */
  readonly #waiting = new Map<string, Waiter[]>();

  constructor(client: () => Client | Promise<Client>) {
    this.#client = client;
  }

  /** Takes `count` numbers, in rising order. */
  take(collection: string, count: number): Promise<readonly number[]> {
    return new Promise((resolve, reject) => {
      const waiter = { count, resolve, reject };
      const waiting = this.#waiting.get(collection);
      if (waiting !== undefined) {
        waiting.push(waiter);
        return;
      }
      this.#waiting.set(collection, []);
      void this.#serve(collection, [waiter]);
    });
  }

  /** Serves these callers, then those that came meanwhile, by ids or an error. Never rejects. */
  async #serve(collection: string, first: Waiter[]): Promise<void> {
    let waiters = first;
    while (waiters.length > 0) {
      // One request gives a bounded number; the cluster refuses a caller that wants more than that.
      const portion = [waiters[0] as Waiter];
      let count = portion[0]?.count ?? 0;
      for (const waiter of waiters.slice(1)) {
        if (count + waiter.count > OPERATIONS_PER_REQUEST_MAX) break;
        portion.push(waiter);
        count += waiter.count;
      }
      const rest = waiters.slice(portion.length);
      try {
        const ids = await nextIds(await this.#client(), collection, count);
        let at = 0;
        for (const waiter of portion) {
          waiter.resolve(ids.slice(at, at + waiter.count));
          at += waiter.count;
        }
      } catch (error) {
        for (const waiter of portion) waiter.reject(error);
      }
      waiters = [...rest, ...(this.#waiting.get(collection)?.splice(0) ?? [])];
    }
    this.#waiting.delete(collection);
  }
}
