/**
 * One side of a simulated TCP connection, with what it has under way to the other side.
 *
 * @module
 */

import type { CancelTimer } from "../../src/platform/clock.ts";
import type { Socket, SocketHandlers } from "../../src/platform/sockets.ts";
import type { Link, LinkFaults } from "./link.ts";
import type { SimulatedProcess, World } from "./world.ts";

/** A chunk under way; without bytes it is the end of the connection. */
interface Parcel {
  readonly bytes: Uint8Array | undefined;
  dueMs: number;
}

/** What the kernels of both sides take from a program although the other side does not read. */
const KERNEL_BYTES = 256 * 1024;

function* piecesOf(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  const whole = Math.floor(size);
  for (let at = 0; at < bytes.byteLength; at += whole) yield bytes.subarray(at, at + whole);
}

/** What a socket asks of the network that it belongs to. */
export interface SocketNetwork {
  readonly faults: LinkFaults;
  readonly world: World;
  link(from: string, to: string): Link;
  delayOn(link: Link): number;
  forget(socket: SimulatedSocket): void;
}

/** One side of a connection. */
export class SimulatedSocket implements Socket {
  readonly remoteAddress: string;
  readonly from: SimulatedProcess;
  readonly to: SimulatedProcess;
  readonly link: Link;
  readonly #network: SocketNetwork;
  peer: SimulatedSocket | undefined;
  #handlers: SocketHandlers | undefined;
  #early: Uint8Array[] = [];
  #isClosed = false;
  #isReadPaused = false;
  #isMute = false;
  #isFull = false;
  /** Under way, in order; each is due no earlier than the one before it. */
  #underway: Parcel[] = [];
  #underwayBytes = 0;
  /** When a thin line has carried what it was given. */
  #freeMs = 0;
  readonly #arrival: { readonly process: SimulatedProcess; readonly run: () => void };
  /** When the next of them is to arrive; undefined while nothing moves. */
  #arrivalMs: number | undefined;
  #cancelArrival: CancelTimer = () => undefined;

  constructor(
    network: SocketNetwork,
    direction: { readonly from: SimulatedProcess; readonly to: SimulatedProcess },
  ) {
    this.#network = network;
    this.from = direction.from;
    this.to = direction.to;
    this.link = network.link(direction.from.name, direction.to.name);
    this.remoteAddress = direction.to.name;
    this.#arrival = { process: direction.to, run: () => this.#arrive() };
  }

  get unsentBytes(): number {
    return Math.max(0, this.#underwayBytes - KERNEL_BYTES);
  }

  attach(handlers: SocketHandlers): void {
    this.#handlers = handlers;
    for (const chunk of this.#early.splice(0)) this.#receive(chunk);
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || !this.from.isAlive) return false;
    // Not a copy: who goes on writing into what it gave away is found by checksums.
    const { splitShare } = this.#network.faults;
    const { random } = this.#network.world;
    if (bytes.byteLength > 1 && random.chance(splitShare)) {
      const at = 1 + random.below(bytes.byteLength - 1);
      this.#send(bytes.slice(0, at));
      this.#send(bytes.slice(at));
    } else this.#send(bytes);
    this.#isFull = this.unsentBytes > 0;
    return !this.#isFull;
  }

  pause(): void {
    this.#isReadPaused = true;
  }

  resume(): void {
    this.#isReadPaused = false;
    for (const chunk of this.#early.splice(0)) this.#receive(chunk);
    this.peer?.flow();
  }

  end(): void {
    if (this.#isClosed) return;
    this.finish();
    this.from.after(0, "closed", () => this.close());
  }

  destroy(): void {
    this.end();
  }

  /** Nothing follows what was sent: the other side learns of it when that has arrived. */
  finish(): void {
    this.#send(undefined);
  }

  /** From now on the connection carries nothing, either way. */
  mute(): void {
    this.#isMute = true;
    if (this.peer !== undefined) this.peer.#isMute = true;
  }

  /** What is under way arrives later. */
  delay(ms: number): void {
    for (const parcel of this.#underway) parcel.dueMs += ms;
  }

  /** This side learns, after a time, that the connection is over. */
  breakAfter(delayMs: number): void {
    this.from.after(delayMs, "reset", () => this.close());
  }

  /** This side learns that the connection is over. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#network.forget(this);
    this.#handlers?.close();
  }

  /** Starts what is under way again, if something had stopped it, behind what the link carries. */
  flow(carriedMs = 0): void {
    const first = this.#underway[0];
    if (first === undefined || this.#arrivalMs !== undefined || this.link.isCut) return;
    const { world } = this.#network;
    const dueMs = world.nowMs + carriedMs + this.#network.delayOn(this.link);
    first.dueMs = Math.max(first.dueMs, dueMs);
    this.#arrivalMs = first.dueMs;
    this.#cancelArrival = world.add(first.dueMs - world.nowMs, this.link.label, this.#arrival);
  }

  /** The link is whole again: what a thin one had not carried yet arrives. */
  heal(): void {
    if (this.#freeMs > 0) {
      const { nowMs } = this.#network.world;
      for (const parcel of this.#underway) parcel.dueMs = Math.min(parcel.dueMs, nowMs);
      this.#freeMs = 0;
      this.#arrivalMs = undefined;
      this.#cancelArrival();
    }
    this.flow();
  }

  #send(bytes: Uint8Array | undefined): void {
    if (this.#isMute) return;
    const { pieceSize } = this.link;
    if (bytes === undefined || bytes.byteLength <= pieceSize) this.#put(bytes);
    else for (const piece of piecesOf(bytes, pieceSize)) this.#put(piece);
  }

  /** Milliseconds until that many more bytes are carried, behind those before them. */
  #carry(size: number): number {
    const { nowMs } = this.#network.world;
    const { bytesPerSecond } = this.link;
    if (bytesPerSecond === Number.POSITIVE_INFINITY) return 0;
    this.#freeMs = Math.max(nowMs, this.#freeMs) + (size / bytesPerSecond) * 1000;
    return this.#freeMs - nowMs;
  }

  #put(bytes: Uint8Array | undefined): void {
    const { world } = this.#network;
    const size = bytes?.byteLength ?? 0;
    const carriedMs = this.#carry(size);
    this.#underway.push({ bytes, dueMs: world.nowMs + carriedMs });
    this.#underwayBytes += size;
    const last = this.#underway.length - 2;
    if (last >= 0 && this.#arrivalMs !== undefined) {
      const dueMs = world.nowMs + carriedMs + this.#network.delayOn(this.link);
      this.#underway[last + 1]!.dueMs = Math.max(dueMs, this.#underway[last]!.dueMs);
    } else this.flow(carriedMs);
  }

  /** Everything that is due arrives, as one chunk or as several. */
  #arrive(): void {
    this.#arrivalMs = undefined;
    const { peer, link } = this;
    if (peer === undefined || link.isCut) return;
    const { nowMs } = this.#network.world;
    while (this.#underway.length > 0 && this.#underway[0]!.dueMs <= nowMs) {
      // TCP has a window: who does not read is not sent more.
      if (peer.#isReadPaused) return;
      const bytes = this.#underway.shift()?.bytes;
      if (this.#isMute) continue;
      if (bytes === undefined) {
        this.#network.forget(this);
        peer.close();
        return;
      }
      this.#underwayBytes -= bytes.byteLength;
      peer.#receive(bytes);
    }
    this.#flowOn(nowMs);
    if (this.#isFull && this.unsentBytes === 0) this.#drain();
  }

  #flowOn(nowMs: number): void {
    const next = this.#underway[0];
    if (next === undefined) return;
    this.#arrivalMs = next.dueMs;
    const { world } = this.#network;
    this.#cancelArrival = world.add(next.dueMs - nowMs, this.link.label, this.#arrival);
  }

  #drain(): void {
    this.#isFull = false;
    this.from.after(0, "drain", () => {
      if (!this.#isClosed) this.#handlers?.drain();
    });
  }

  #receive(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#handlers === undefined || this.#isReadPaused) this.#early.push(chunk);
    else this.#handlers.data(chunk);
  }
}
