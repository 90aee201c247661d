/**
 * What is wrong with the links between processes right now, by direction. The proxies ask here for
 * every chunk, and are told of changes.
 *
 * @module
 */

/** Stands for every client as an end of a link. */
export const CLIENTS = "clients";

/** One direction of a link: bytes that `from` sends to `to`, on whatever connection. */
export interface Direction {
  readonly from: string;
  readonly to: string;
}

/**
 * `cut`: connections that `from` dials to `to` are reset, now and while it lasts. `delay`: bytes
 * arrive late, in order. `thin`: no more bytes a second pass. `blackHole`: nothing arrives, not even
 * the end of a connection. `halfOpen`: connections that exist are over for `to`, and `from` is not
 * told.
 */
export type LinkFaultKind = "cut" | "delay" | "thin" | "blackHole" | "halfOpen";

/** A fault of one direction. */
export interface LinkFault extends Direction {
  readonly kind: LinkFaultKind;
  /** delay: by so much, in milliseconds. */
  readonly delayMs?: number;
  /** delay: up to so much more, chosen anew for each piece. */
  readonly jitterMs?: number;
  /** thin: what one connection carries. */
  readonly bytesPerSecond?: number;
  /** blackHole: at its end connections are reset; else what was held arrives late. */
  readonly resets?: boolean;
}

/** Hears of changes. */
export interface LinkListener {
  began(fault: LinkFault): void;
  ended(fault: LinkFault): void;
}

/** The faults of all links. */
export class LinkFaults {
  readonly #active = new Set<LinkFault>();
  readonly #listeners = new Set<LinkListener>();
  readonly #carried = new Map<string, number>();

  /** So many bytes arrived in a direction. */
  noteCarried({ from, to }: Direction, size: number): void {
    const name = `${from}>${to}`;
    this.#carried.set(name, (this.#carried.get(name) ?? 0) + size);
  }

  /** Bytes that have arrived at an end, from anywhere. */
  carriedTo(to: string): number {
    let sum = 0;
    for (const [name, bytes] of this.#carried) if (name.endsWith(`>${to}`)) sum += bytes;
    return sum;
  }

  listen(listener: LinkListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get count(): number {
    return this.#active.size;
  }

  /** Begins a fault; the result ends it. */
  begin(fault: LinkFault): () => void {
    this.#active.add(fault);
    for (const listener of this.#listeners) listener.began(fault);
    return () => {
      if (!this.#active.delete(fault)) return;
      for (const listener of this.#listeners) listener.ended(fault);
    };
  }

  has(kind: LinkFaultKind, direction: Direction): boolean {
    return this.#of(direction).some((fault) => fault.kind === kind);
  }

  delayMs(direction: Direction): number {
    const delays = this.#of(direction).map(({ delayMs = 0, jitterMs = 0 }) => {
      return delayMs + Math.random() * jitterMs;
    });
    return Math.max(0, ...delays);
  }

  /** Infinity on a line that is not thin. */
  bytesPerSecond(direction: Direction): number {
    const rates = this.#of(direction).map((fault) => fault.bytesPerSecond);
    return Math.min(...rates.map((rate) => rate ?? Number.POSITIVE_INFINITY));
  }

  #of({ from, to }: Direction): LinkFault[] {
    return [...this.#active].filter((fault) => fault.from === from && fault.to === to);
  }
}
