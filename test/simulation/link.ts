/**
 * One direction between two simulated processes, and its faults.
 *
 * @module
 */

import { type Label, labelOf } from "./world.ts";

/** How links behave; may be changed at any time. */
export interface LinkFaults {
  /** Delay of each chunk between the two, in milliseconds; short ones are more frequent. */
  delayMs: readonly [number, number];
  /** Share of chunks that are split in two. */
  splitShare: number;
  /** Share of chunks that are late by up to {@link tailMs}. */
  tailShare: number;
  tailMs: number;
}

const PIECE_SIZE_MIN = 256;

/** One direction between two processes. */
export class Link {
  /** Label of the events by which something arrives. */
  readonly label: Label;
  readonly from: string;
  readonly to: string;
  isCut = false;
  /** Added to each delay. */
  slowMs = 0;
  /** Share of chunks that TCP has to send again. */
  lossShare = 0;
  /** What each connection carries; a chunk arrives in pieces if that is little. */
  bytesPerSecond = Number.POSITIVE_INFINITY;

  constructor(from: string, to: string) {
    this.from = from;
    this.to = to;
    this.label = labelOf(`${to}:from ${from}`);
  }

  heal(): void {
    this.isCut = false;
    this.slowMs = 0;
    this.lossShare = 0;
    this.bytesPerSecond = Number.POSITIVE_INFINITY;
  }

  /** Bytes that it carries in about 10 ms: a chunk arrives in pieces of that size. */
  get pieceSize(): number {
    return Math.max(PIECE_SIZE_MIN, this.bytesPerSecond / 100);
  }
}
