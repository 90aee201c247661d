/**
 * How far a node has come in each origin's operations: in memory, and on its disk.
 *
 * @module
 */

import type { Dot, Origin, OriginSequence } from "./operation/dot.ts";
import type { Operation } from "./operation/operation.ts";
import { includes, seen, type VersionVector } from "./operation/version_vector.ts";

/** A Ready that is on its way to the disk. */
interface Underway {
  readonly number: number;
  readonly cursor: VersionVector;
}

/** The progress of one node. */
export class Progress {
  readonly #cursor: Map<Origin, OriginSequence>;
  readonly #chains: Map<Origin, number>;
  #durable: VersionVector;
  #number = 0;
  readonly #underway: Underway[] = [];
  /** The context of own operations, until another origin's operation is taken in. */
  #context: VersionVector | undefined;
  /** The last vector of which was asked whether it is on disk, until something changes. */
  #asked: { readonly vector: VersionVector; readonly isDurable: boolean } | undefined;

  constructor(cursor: VersionVector, chains: ReadonlyMap<Origin, number>) {
    this.#cursor = new Map(cursor);
    this.#chains = new Map(chains);
    this.#durable = new Map(cursor);
  }

  /** All that was taken in, on disk or on its way there. */
  get cursor(): VersionVector {
    return this.#cursor;
  }

  /** The operations on disk. */
  get durable(): VersionVector {
    return this.#durable;
  }

  /** Checksum of each origin's last operation in the cursor. */
  get chains(): ReadonlyMap<Origin, number> {
    return this.#chains;
  }

  /** The checksums of {@link durable}, of origins of which nothing is on its way to the disk. */
  get durableChains(): ReadonlyMap<Origin, number> {
    const known = new Map<Origin, number>();
    for (const [origin, sequence] of this.#durable) {
      const chain = this.#chains.get(origin);
      if (chain !== undefined && seen(this.#cursor, origin) === sequence) known.set(origin, chain);
    }
    return known;
  }

  /** Number of the last Ready. */
  get number(): number {
    return this.#number;
  }

  /** What an operation of `own` follows, its own origin apart: one object while that is the same. */
  contextOf(own: Origin): VersionVector {
    if (this.#context === undefined) {
      const context = new Map(this.#cursor);
      context.delete(own);
      this.#context = context;
    }
    return this.#context;
  }

  take({ origin, sequence, chain }: Operation, own: Origin): void {
    this.#cursor.set(origin, sequence);
    this.#chains.set(origin, chain);
    if (origin !== own) this.#context = undefined;
  }

  /** What was taken in since the last Ready leaves for the disk. */
  next(): number {
    this.#number += 1;
    this.#underway.push({ number: this.#number, cursor: new Map(this.#cursor) });
    return this.#number;
  }

  /** Number of the Ready after which an operation that was taken in is on disk; 0 if it is. */
  readyOf(origin: Origin, sequence: OriginSequence): number {
    // Of a retired origin all is on disk.
    if (!this.#cursor.has(origin) || sequence <= seen(this.#durable, origin)) return 0;
    const holds = ({ cursor }: Underway): boolean => sequence <= seen(cursor, origin);
    return this.#underway.find(holds)?.number ?? this.#number + 1;
  }

  /** Number of the Ready after which all of these are on disk. */
  readyOfAll(versions: readonly { readonly dot: Dot }[]): number {
    let last = 0;
    for (const { dot } of versions) last = Math.max(last, this.readyOf(dot.origin, dot.sequence));
    return last;
  }

  /** Whether all of these are on disk. */
  isDurable(vector: VersionVector): boolean {
    if (this.#asked?.vector !== vector) {
      this.#asked = { vector, isDurable: includes(this.#durable, vector) };
    }
    return this.#asked.isDurable;
  }

  persisted(number: number): void {
    this.#asked = undefined;
    const count = this.#underway.filter((ready) => ready.number <= number).length;
    const done = this.#underway.splice(0, count);
    this.#durable = done.at(-1)?.cursor ?? this.#durable;
  }

  /** Nobody needs to know any more how far these had come. */
  retire(isRetired: (origin: Origin) => boolean): void {
    for (const origin of this.#cursor.keys()) {
      if (!isRetired(origin)) continue;
      this.#cursor.delete(origin);
      this.#chains.delete(origin);
      this.#context = undefined;
    }
    const left = (vector: VersionVector): VersionVector =>
      new Map([...vector].filter(([origin]) => !isRetired(origin)));
    this.#durable = left(this.#durable);
    this.#asked = undefined;
    for (const [at, ready] of this.#underway.entries()) {
      this.#underway[at] = { ...ready, cursor: left(ready.cursor) };
    }
  }
}
