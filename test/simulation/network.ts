/**
 * TCP between simulated processes: delay, clogged links, one-way and two-way cuts, resets,
 * half-open
 * connections. What a connection carries arrives whole and in order or not at all; chunks may be
 * split anywhere.
 *
 * @module
 */

import { UnreachableError } from "../../src/base/errors.ts";
import type {
  Endpoint,
  Listener,
  Network,
  Socket,
  SocketHandlers,
} from "../../src/platform/sockets.ts";
import type { SimulatedProcess, World } from "./world.ts";

interface Direction {
  readonly from: SimulatedProcess;
  readonly to: SimulatedProcess;
}

/** How links behave; may be changed at any time. */
export interface LinkFaults {
  /** Delay of each chunk, uniform between the two, in milliseconds. */
  delayMs: readonly [number, number];
  /** Share of chunks that are split in two. */
  splitShare: number;
}

class SimulatedSocket implements Socket {
  readonly remoteAddress: string;
  readonly #network: SimulatedNetwork;
  readonly #direction: Direction;
  peer: SimulatedSocket | undefined;
  #handlers: SocketHandlers | undefined;
  #early: Uint8Array[] = [];
  #isClosed = false;
  #isReadPaused = false;
  #unread: Uint8Array[] = [];
  /** Chunks under way in this socket's direction, in order; undefined is the end. */
  outgoing: (Uint8Array | undefined)[] = [];
  isMoving = false;

  constructor(network: SimulatedNetwork, direction: Direction) {
    this.#network = network;
    this.#direction = direction;
    this.remoteAddress = direction.to.name;
  }

  get direction(): Direction {
    return this.#direction;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get unsentBytes(): number {
    return 0;
  }

  attach(handlers: SocketHandlers): void {
    this.#handlers = handlers;
    for (const chunk of this.#early.splice(0)) this.receive(chunk);
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isClosed || !this.#direction.from.isAlive) return false;
    for (const part of this.#network.split(bytes.slice())) this.outgoing.push(part);
    this.#network.move(this);
    return true;
  }

  pause(): void {
    this.#isReadPaused = true;
  }

  resume(): void {
    this.#isReadPaused = false;
    for (const chunk of this.#unread.splice(0)) this.receive(chunk);
  }

  end(): void {
    if (this.#isClosed) return;
    this.outgoing.push(undefined);
    this.#network.move(this);
    this.#direction.from.after(0, "closed", () => this.close());
  }

  destroy(): void {
    this.end();
  }

  receive(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.#handlers === undefined) this.#early.push(chunk);
    else if (this.#isReadPaused) this.#unread.push(chunk);
    else this.#handlers.data(chunk);
  }

  /** This side learns that the connection is over. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#handlers?.close();
  }
}

interface Listening {
  readonly process: SimulatedProcess;
  readonly onSocket: (socket: Socket) => void;
}

/** All links of a world. */
export class SimulatedNetwork {
  readonly faults: LinkFaults = { delayMs: [0.05, 0.5], splitShare: 0.02 };
  readonly #world: World;
  readonly #listening = new Map<number, Listening>();
  readonly #sockets = new Set<SimulatedSocket>();
  /** "from>to" of directions that carry nothing. */
  readonly #cut = new Set<string>();
  readonly #slow = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  /** The network as one process sees it. */
  of(process: SimulatedProcess): Network {
    return {
      listen: (endpoint, onSocket) => this.#listen(process, endpoint, onSocket),
      connect: (endpoint, timeoutMs) => this.#connect(process, endpoint, timeoutMs),
    };
  }

  /** Cuts one direction. */
  cut(from: string, to: string): void {
    this.#cut.add(`${from}>${to}`);
  }

  /** Adds a delay to one direction. */
  slow(from: string, to: string, delayMs: number): void {
    this.#slow.set(`${from}>${to}`, delayMs);
  }

  /** Everything flows again; what was held back arrives. */
  heal(): void {
    this.#cut.clear();
    this.#slow.clear();
    for (const socket of this.#sockets) this.move(socket);
  }

  /** Breaks every connection between two processes; each side learns of it. */
  reset(a: string, b: string): void {
    for (const socket of [...this.#sockets]) {
      const { from, to } = socket.direction;
      if ((from.name === a && to.name === b) || (from.name === b && to.name === a))
        this.#kill(socket, 0);
    }
  }

  /** Breaks every connection between two processes, and only `a` learns of it. */
  halfOpen(a: string, b: string): void {
    for (const socket of [...this.#sockets]) {
      const { from, to } = socket.direction;
      if (from.name === a && to.name === b) this.#kill(socket, 0);
    }
  }

  /** A process is gone. `silentMs`: how long the others do not notice (power cut); 0 = at once. */
  processGone(process: SimulatedProcess, silentMs: number): void {
    for (const [port, listening] of this.#listening) {
      if (listening.process === process) this.#listening.delete(port);
    }
    for (const socket of [...this.#sockets]) {
      if (socket.direction.from === process && socket.peer !== undefined)
        this.#kill(socket.peer, silentMs);
    }
  }

  split(bytes: Uint8Array): Uint8Array[] {
    const { random } = this.#world;
    if (bytes.byteLength < 2 || !random.chance(this.faults.splitShare)) return [bytes];
    const at = 1 + random.below(bytes.byteLength - 1);
    return [bytes.subarray(0, at), bytes.subarray(at)];
  }

  /** Carries the next chunk of a socket, if its direction is open. */
  move(socket: SimulatedSocket): void {
    if (socket.isMoving || socket.outgoing.length === 0) return;
    const { from, to } = socket.direction;
    if (this.#cut.has(`${from.name}>${to.name}`)) return;
    socket.isMoving = true;
    this.#world.schedule(this.#delay(from.name, to.name), `${to.name}:from ${from.name}`, () => {
      socket.isMoving = false;
      if (this.#cut.has(`${from.name}>${to.name}`)) return;
      const chunk = socket.outgoing.shift();
      const { peer } = socket;
      if (peer !== undefined)
        to.deliver("net", () => (chunk === undefined ? this.#closed(peer) : peer.receive(chunk)));
      this.move(socket);
    });
  }

  #closed(socket: SimulatedSocket): void {
    socket.close();
    this.#sockets.delete(socket);
  }

  #kill(socket: SimulatedSocket, delayMs: number): void {
    socket.direction.from.after(delayMs, "reset", () => this.#closed(socket));
  }

  #delay(from: string, to: string): number {
    const [low, high] = this.faults.delayMs;
    const share = this.#world.random.below(1000) / 1000;
    return low + (high - low) * share * share + (this.#slow.get(`${from}>${to}`) ?? 0);
  }

  async #listen(
    process: SimulatedProcess,
    endpoint: Endpoint,
    onSocket: (socket: Socket) => void,
  ): Promise<Listener> {
    this.#listening.set(endpoint.port, { process, onSocket });
    return {
      endpoint,
      close: async () => {
        if (this.#listening.get(endpoint.port)?.process === process)
          this.#listening.delete(endpoint.port);
      },
    };
  }

  #connect(process: SimulatedProcess, endpoint: Endpoint, timeoutMs: number): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const target = this.#listening.get(endpoint.port);
      const name = target?.process.name ?? `port${endpoint.port}`;
      const isCut =
        this.#cut.has(`${process.name}>${hostOf(endpoint)}`) ||
        this.#cut.has(`${hostOf(endpoint)}>${process.name}`);
      if (isCut) {
        process.after(timeoutMs, "connect", () =>
          reject(new UnreachableError(`no answer from ${name}`)),
        );
        return;
      }
      process.after(this.#delay(process.name, name), "connect", () => {
        if (target === undefined || !target.process.isAlive) {
          reject(new UnreachableError(`refused by ${name}`, { isRefused: true }));
          return;
        }
        const near = new SimulatedSocket(this, { from: process, to: target.process });
        const far = new SimulatedSocket(this, { from: target.process, to: process });
        near.peer = far;
        far.peer = near;
        this.#sockets.add(near).add(far);
        // The kernel accepts for a paused process, too: it hears of it when it goes on.
        target.process.after(0, "accept", () => target.onSocket(far));
        resolve(near);
      });
    });
  }
}

/** Node ports are 7001, 7002 ...: the process behind a port has its name. */
export function hostOf(endpoint: Endpoint): string {
  return `n${endpoint.port - 7000}`;
}
