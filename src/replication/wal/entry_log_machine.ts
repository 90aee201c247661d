/**
 * The state machine of a log that is its own purpose: applying an entry means passing it to the
 * listeners, in order, once it is committed.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import { viewOf } from "../../base/bytes.ts";
import {
  batchCommands,
  type Compressor,
  decodeBatchHeader,
} from "../../protocol/encoding/batch_codec.ts";
import { readCommandHeader } from "../../protocol/encoding/command.ts";
import type { ApplyResults, StateMachine } from "../../raft/state_machine.ts";
import type { Entry } from "../../raft/types.ts";
import type { WALEntry } from "../../storage/wal/iwal_manager.ts";
import { readEntryCommands } from "../../storage/wal/wal_entry_codec.ts";

/** Shows committed entries. */
export class EntryLogMachine implements StateMachine {
  readonly #compressor: Compressor;
  readonly #listeners = new Set<(entry: WALEntry) => void>();
  #appliedIndex: number;

  /** `appliedIndex`: what a log that was compacted begins after. */
  constructor(compressor: Compressor, appliedIndex: number) {
    this.#compressor = compressor;
    this.#appliedIndex = appliedIndex;
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  onEntry(listener: (entry: WALEntry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  apply(entry: Entry, results: ApplyResults): void {
    assert(entry.index === this.#appliedIndex + 1, "entries are applied in order");
    const header = decodeBatchHeader(entry.bytes);
    const commands = batchCommands(entry.bytes, header, this.#compressor);
    const view = viewOf(commands);
    let sequence = entry.firstSequence;
    let ordinal = 0;
    for (let at = 0; at < commands.byteLength; ordinal += 1) {
      const { size, count } = readCommandHeader(view, at);
      results.written(ordinal, sequence);
      sequence += count;
      at += size;
    }
    this.#appliedIndex = entry.index;
    if (this.#listeners.size === 0) return;
    for (const shown of readEntryCommands(commands, header)) {
      for (const listener of this.#listeners) listener(shown);
    }
  }
}
