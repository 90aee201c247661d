/**
 * Carries out one Ready. The only place where effects are ordered: messages that promise nothing
 * leave first, beside the writing; then term, vote and entries go into the log; messages that
 * promise something wait until everything of their Ready, and of all before it, is on the disk.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import type { RaftMessage } from "../../raft/message.ts";
import type { Ready } from "../../raft/ready.ts";
import type { ReplicatedLog } from "../../storage/wal/iwal_manager.ts";

interface Persisting {
  readonly number: number;
  /** Record that must be durable; that of an earlier Ready if this one wrote nothing. */
  readonly record: number;
  readonly messages: readonly RaftMessage[];
}

/** Receives messages to send, and the Readies that are on disk. */
export interface ReadyEffects {
  send(message: RaftMessage): void;
  /** Everything of that Ready is on the disk; called in order. */
  persisted(number: number): void;
}

/** Orders writing, syncing and sending. */
export class ReadyRunner {
  readonly #log: ReplicatedLog;
  readonly #effects: ReadyEffects;
  #persisting: Persisting[] = [];
  #lastRecord = 0;

  constructor(log: ReplicatedLog, effects: ReadyEffects) {
    this.#log = log;
    this.#effects = effects;
  }

  /** Readies that wait for the disk. */
  get waiting(): number {
    return this.#persisting.length;
  }

  run(ready: Ready): void {
    for (const message of ready.messages) this.#effects.send(message);
    if (ready.mustSync) {
      const { restored, hardState, entries, commitIndex } = ready;
      if (restored !== undefined) this.#log.restartBehind(restored);
      this.#lastRecord = this.#log.write({ hardState, entries, commitIndex });
      this.#log.requestSync();
    }
    const { number, messagesAfterPersist: messages } = ready;
    this.#persisting.push({ number, record: this.#lastRecord, messages });
    this.synced(this.#log.syncedThrough);
  }

  /** More of the log became durable. */
  synced(throughRecord: number): void {
    while (this.#persisting.length > 0 && this.#persisting[0]!.record <= throughRecord) {
      const done = this.#persisting.shift();
      assert(done !== undefined, "the queue is not empty");
      this.#effects.persisted(done.number);
      for (const message of done.messages) this.#effects.send(message);
    }
  }
}
