/**
 * Whose clock is wrong. Each member says its time; a node whose clock stands apart from most of
 * them by more than the drift goes by theirs, so that it neither stamps writes with a time that
 * hides those of others, nor makes the operations of others wait.
 *
 * A clock that jumps while nobody has spoken since is not followed: the last answers count, as old
 * as they are.
 *
 * @module
 */

/** The clocks of the members, as one of them knows them. */
export class PeerClocks {
  readonly #driftMaxMs: number;
  /** Their clock less this node's, by node. */
  readonly #offsets = new Map<string, number>();
  #lastMs: number | undefined;
  #offsetMs = 0;

  /** @param driftMaxMs by how much clocks may stand apart. */
  constructor(driftMaxMs: number) {
    this.#driftMaxMs = driftMaxMs;
  }

  /** By how much the time of most members is ahead of this node's clock; 0 within the drift. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  /** The time that counts, ms since 1970, when this node's clock shows `wallMs`. */
  time(wallMs: number): number {
    this.#noteJump(wallMs);
    return wallMs + this.#offsetMs;
  }

  /** A member said its time. It was on its way for some of the drift. */
  heard(node: string, theirMs: number, wallMs: number): void {
    this.#noteJump(wallMs);
    this.#offsets.set(node, theirMs - wallMs);
    this.#judge();
  }

  /** Only the clocks of members count. */
  keep(isMember: (node: string) => boolean): void {
    for (const node of this.#offsets.keys()) if (!isMember(node)) this.#offsets.delete(node);
    this.#judge();
  }

  #noteJump(wallMs: number): void {
    const passedMs = wallMs - (this.#lastMs ?? wallMs);
    this.#lastMs = wallMs;
    if (Math.abs(passedMs) <= this.#driftMaxMs) return;
    for (const [node, offsetMs] of this.#offsets) this.#offsets.set(node, offsetMs - passedMs);
    this.#judge();
  }

  /** The middle of all clocks, this one included; of two middle ones the nearer. */
  #judge(): void {
    const sorted = [0, ...this.#offsets.values()].sort((a, b) => a - b);
    const upper = sorted[sorted.length >> 1] ?? 0;
    const lower = sorted[(sorted.length - 1) >> 1] ?? 0;
    const middleMs = Math.abs(lower) < Math.abs(upper) ? lower : upper;
    this.#offsetMs = Math.abs(middleMs) > this.#driftMaxMs ? middleMs : 0;
  }
}
