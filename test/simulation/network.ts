/**
 * TCP between simulated processes: delays, clogged, thin and lossy links, one-way and two-way cuts,
 * resets, half-open connections, connections that go silent, bytes that arrive late. What a
 * connection carries arrives in order or not at all; chunks may be split anywhere.
 *
 * @module
 */

import type { Endpoint } from "../../src/base/address.ts";
import { UnreachableError } from "../../src/base/errors.ts";
import type { Listener, Network, Socket } from "../../src/platform/sockets.ts";
import { Link, type LinkFaults } from "./link.ts";
import { SimulatedSocket } from "./socket.ts";
import type { SimulatedProcess, World } from "./world.ts";

/** TCP waits this long before it sends a lost segment again, twice as long the next time. */
const RETRANSMIT_MS = 200;
const RETRANSMISSIONS_MAX = 4;

interface Listening {
  readonly process: SimulatedProcess;
  readonly onSocket: (socket: Socket) => void;
}

/** All links of a world. */
export class SimulatedNetwork {
  readonly faults: LinkFaults = { delayMs: [0.05, 0.5], splitShare: 0.02, tailShare: 0, tailMs: 0 };
  readonly world: World;
  readonly #listening = new Map<number, Listening>();
  readonly #sockets = new Set<SimulatedSocket>();
  readonly #links = new Map<string, Map<string, Link>>();

  constructor(world: World) {
    this.world = world;
  }

  /** The network as one process sees it. */
  of(process: SimulatedProcess): Network {
    return {
      listen: (endpoint, onSocket) => this.#listen(process, endpoint, onSocket),
      connect: (endpoint, timeoutMs) => this.#connect(process, endpoint, timeoutMs),
    };
  }

  /** One direction between two processes, by name. */
  link(from: string, to: string): Link {
    let links = this.#links.get(from);
    if (links === undefined) {
      links = new Map();
      this.#links.set(from, links);
    }
    let link = links.get(to);
    if (link === undefined) {
      link = new Link(from, to);
      links.set(to, link);
    }
    return link;
  }

  /** Cuts one direction: nothing arrives until it is healed. */
  cut(from: string, to: string): void {
    this.link(from, to).isCut = true;
  }

  /** Adds a delay to one direction. */
  slow(from: string, to: string, delayMs: number): void {
    this.link(from, to).slowMs = delayMs;
  }

  /** One direction carries no more than that. */
  thin(from: string, to: string, bytesPerSecond: number): void {
    this.link(from, to).bytesPerSecond = bytesPerSecond;
  }

  /** Makes one direction lose chunks, which TCP sends again later. */
  lose(from: string, to: string, share: number): void {
    this.link(from, to).lossShare = share;
  }

  /** Everything flows again; what was held back arrives. */
  heal(): void {
    for (const links of this.#links.values()) for (const link of links.values()) link.heal();
    for (const socket of this.#sockets) socket.heal();
  }

  /** Breaks every connection between two processes; each side learns of it. */
  reset(a: string, b: string): void {
    for (const socket of [...this.#between(a, b), ...this.#between(b, a)]) socket.breakAfter(0);
  }

  /** Breaks every connection between two processes, and only `a` learns of it. */
  halfOpen(a: string, b: string): void {
    for (const socket of this.#between(a, b)) {
      socket.mute();
      socket.breakAfter(0);
    }
  }

  /** Connections between two processes go silent, and nobody is told. New ones work. */
  blackHole(a: string, b: string): void {
    for (const socket of this.#between(a, b)) socket.mute();
  }

  /**
   * `a` loses its connections to `b` and makes new ones; what it had sent on the old ones arrives
   * after `lateMs`, and only then `b` learns that they are over.
   */
  makeLate(a: string, b: string, lateMs: number): void {
    for (const socket of this.#between(a, b)) {
      socket.delay(lateMs);
      socket.breakAfter(0);
      socket.peer?.breakAfter(lateMs + 2 * this.faults.delayMs[1]);
    }
  }

  /**
   * A process is gone. `silentMs`: how long the others do not notice (power cut); 0 = at once, or
   * after what it had sent.
   */
  processGone(process: SimulatedProcess, silentMs: number): void {
    for (const [port, listening] of this.#listening) {
      if (listening.process === process) this.#listening.delete(port);
    }
    for (const socket of [...this.#sockets]) {
      if (socket.from !== process) continue;
      if (silentMs === 0 && this.world.random.chance(0.5)) {
        socket.finish();
        continue;
      }
      socket.peer?.breakAfter(silentMs);
      this.forget(socket);
    }
  }

  /** A connection has ended on one side. */
  forget(socket: SimulatedSocket): void {
    this.#sockets.delete(socket);
  }

  /** How long the next chunk is under way. */
  delayOn(link: Link): number {
    const { random } = this.world;
    const { delayMs, tailShare, tailMs } = this.faults;
    const [low, high] = delayMs;
    const share = random.below(1000) / 1000;
    let delay = low + (high - low) * share * share + link.slowMs;
    if (tailShare > 0 && random.chance(tailShare)) delay += random.below(tailMs);
    if (link.lossShare === 0) return delay;
    for (let n = 0; n < RETRANSMISSIONS_MAX && random.chance(link.lossShare); n += 1)
      delay += RETRANSMIT_MS * 2 ** n;
    return delay;
  }

  #between(from: string, to: string): SimulatedSocket[] {
    return [...this.#sockets].filter(
      (socket) => socket.link.from === from && socket.link.to === to,
    );
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
    const host = hostOf(endpoint);
    const there = this.link(process.name, host);
    const back = this.link(host, process.name);
    return new Promise((resolve, reject) => {
      const delay = this.delayOn(there) + back.slowMs;
      if (there.isCut || back.isCut || delay > timeoutMs) {
        process.after(timeoutMs, "connect", () =>
          reject(new UnreachableError(`no answer from ${host}`)),
        );
        return;
      }
      process.after(delay, "connect", () => {
        const target = this.#listening.get(endpoint.port);
        if (target === undefined || !target.process.isAlive) {
          reject(new UnreachableError(`refused by ${host}`, { isRefused: true }));
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
