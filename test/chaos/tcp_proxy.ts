/**
 * A TCP proxy in front of one node. It reads the first frame of each connection to learn who
 * dialled, unless that is given, and then passes on bytes as the faults of that link and direction
 * say.
 *
 * @module
 */

import * as net from "node:net";
import { sleep, systemClock } from "../../src/platform/clock.ts";
import { FrameDecoder } from "../../src/protocol/wire/frame_decoder.ts";
import { decodeHello } from "../../src/protocol/wire/handshake.ts";
import { CLIENTS, type Direction, type LinkFault, type LinkFaults } from "./link_faults.ts";

const HOST = "127.0.0.1";
/** Bytes that go over a thin line at once. */
const PIECE_SIZE = 4096;
/** Time for which a thin line may hold bytes, in seconds: as a router's queue. */
const THIN_QUEUE_SECONDS = 0.2;
/** Bytes that one direction of a connection may hold before its sender is slowed down. */
const HELD_BYTES_MAX = 8 * 1024 * 1024;
const REBIND_TRIES_MAX = 500;

/** Listens where everybody believes the node to be. */
export class TcpProxy {
  /** The node behind it. */
  readonly nodeId: string;
  readonly #faults: LinkFaults;
  readonly #connections = new Set<ProxiedConnection>();
  readonly #stopListening: () => void;
  #server: net.Server | undefined;
  #port = 0;
  /** Where the node listens; undefined while there is none. */
  #upstream: number | undefined;
  readonly #dialler: string | undefined;

  /** @param dialler who all connections come from, if what they carry does not say so. */
  constructor(nodeId: string, faults: LinkFaults, dialler?: string) {
    this.nodeId = nodeId;
    this.#dialler = dialler;
    this.#faults = faults;
    this.#stopListening = faults.listen({
      began: (fault) => {
        for (const connection of [...this.#connections]) connection.onFault(fault);
      },
      ended: (fault) => {
        for (const connection of [...this.#connections]) connection.onHealed(fault);
      },
    });
  }

  /** Takes a port for good; nobody listens there until {@link attach}. */
  async reserve(): Promise<string> {
    await this.#listen();
    await this.detach();
    return this.address;
  }

  get address(): string {
    return `${HOST}:${this.#port}`;
  }

  /** Connections of which a side is open. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** The node listens at `port`. */
  async attach(port: number): Promise<void> {
    this.#upstream = port;
    if (this.#server === undefined) await this.#listen();
  }

  /** The node is gone: who dials is refused, as by a machine without the process. */
  async detach(): Promise<void> {
    this.#upstream = undefined;
    const server = this.#server;
    this.#server = undefined;
    // Resolves when the last connection ends, which is not what is waited for.
    server?.close();
  }

  /** Ends everything. */
  async close(): Promise<void> {
    this.#stopListening();
    await this.detach();
    for (const connection of [...this.#connections]) connection.destroy();
  }

  async #listen(): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      try {
        this.#server = await this.#bind();
        return;
      } catch (error) {
        // An outgoing connection may have been given the port meanwhile.
        if (tries >= REBIND_TRIES_MAX) throw error;
        await sleep(systemClock, 20);
      }
    }
  }

  #bind(): Promise<net.Server> {
    return new Promise((resolve, reject) => {
      const server = net.createServer({ noDelay: true }, (socket) => this.#accept(socket));
      server.once("error", reject);
      server.listen({ host: HOST, port: this.#port }, () => {
        const address = server.address();
        if (typeof address === "object" && address !== null) this.#port = address.port;
        resolve(server);
      });
    });
  }

  #accept(near: net.Socket): void {
    const upstream = (): number | undefined => this.#upstream;
    const route = { dialler: this.#dialler, target: this.nodeId, upstream };
    const connection = new ProxiedConnection(near, route, this.#faults);
    this.#connections.add(connection);
    connection.onOver = () => this.#connections.delete(connection);
  }
}

/** Where a connection goes, and where it comes from if that is known without reading. */
interface Route {
  readonly dialler: string | undefined;
  readonly target: string;
  readonly upstream: () => number | undefined;
}

/** One connection through the proxy. */
class ProxiedConnection {
  readonly #near: net.Socket;
  readonly #route: Route;
  readonly #faults: LinkFaults;
  readonly #decoder = new FrameDecoder();
  #early: Uint8Array[] = [];
  #source: string | undefined;
  #far: net.Socket | undefined;
  #forth: Pipe | undefined;
  #back: Pipe | undefined;
  /** Called when both sides are closed. */
  onOver: () => void = () => undefined;

  constructor(near: net.Socket, route: Route, faults: LinkFaults) {
    this.#near = near;
    this.#route = route;
    this.#faults = faults;
    this.#source = route.dialler;
    near.on("error", () => near.destroy());
    near.on("data", (chunk: Uint8Array) => this.#onData(chunk));
    near.on("close", () => this.#onNearClosed());
    if (route.dialler !== undefined) this.#dial(route.dialler);
  }

  destroy(): void {
    this.#near.destroy();
    this.#far?.destroy();
  }

  /** A fault began. */
  onFault(fault: LinkFault): void {
    const isForth = this.#isOn(fault, "forth");
    if (fault.kind === "cut" && isForth) this.destroy();
    if (fault.kind !== "halfOpen") return;
    if (isForth) this.#split(this.#far);
    else if (this.#isOn(fault, "back")) this.#split(this.#near);
  }

  /** A fault is over. */
  onHealed(fault: LinkFault): void {
    const isForth = this.#isOn(fault, "forth");
    const isBack = this.#isOn(fault, "back");
    if (!isForth && !isBack) return;
    const isDead = this.#forth?.isSilenced === true || this.#back?.isSilenced === true;
    if (fault.kind === "halfOpen" && isDead) this.destroy();
    if (fault.kind === "blackHole" && fault.resets === true) this.destroy();
    this.#forth?.pump();
    this.#back?.pump();
  }

  /** Ends one side without a word to the other. */
  #split(side: net.Socket | undefined): void {
    this.#forth?.silence();
    this.#back?.silence();
    side?.destroy();
  }

  #isOn(fault: Direction, way: "forth" | "back"): boolean {
    const [from, to] =
      way === "forth" ? [this.#source, this.#route.target] : [this.#route.target, this.#source];
    return fault.from === from && fault.to === to;
  }

  #onData(chunk: Uint8Array): void {
    if (this.#forth !== undefined) {
      this.#forth.push(chunk);
      return;
    }
    this.#early.push(chunk);
    if (this.#source !== undefined) return;
    try {
      this.#decoder.push(chunk, (frame) => {
        if (this.#source !== undefined) return;
        const hello = decodeHello(frame.body);
        this.#source = hello.role === "client" ? CLIENTS : hello.nodeId;
      });
    } catch {
      this.destroy(); // Not a connection of ours.
      return;
    }
    if (this.#source !== undefined) this.#dial(this.#source);
  }

  #dial(source: string): void {
    const port = this.#route.upstream();
    const direction = { from: source, to: this.#route.target };
    if (port === undefined || this.#faults.has("cut", direction)) {
      this.destroy();
      return;
    }
    const far = net.connect({ host: HOST, port, noDelay: true });
    this.#far = far;
    far.on("error", () => far.destroy());
    const forth = new Pipe({ from: this.#near, to: far }, direction, this.#faults);
    const reverse = { from: direction.to, to: direction.from };
    const back = new Pipe({ from: far, to: this.#near }, reverse, this.#faults);
    this.#forth = forth;
    this.#back = back;
    far.on("connect", () => forth.open());
    far.on("data", (chunk: Uint8Array) => back.push(chunk));
    far.on("close", () => {
      back.end();
      this.#lookWhetherOver();
    });
    back.open();
    for (const chunk of this.#early.splice(0)) forth.push(chunk);
  }

  #onNearClosed(): void {
    this.#forth?.end();
    this.#lookWhetherOver();
  }

  #lookWhetherOver(): void {
    if (this.#near.destroyed && this.#far?.destroyed !== false) this.onOver();
  }
}

/** One direction of one connection: chunks in order, each when it is due. */
class Pipe {
  readonly #from: net.Socket;
  readonly #to: net.Socket;
  readonly #direction: Direction;
  readonly #faults: LinkFaults;
  readonly #waiting: { readonly chunk: Uint8Array | undefined; readonly dueMs: number }[] = [];
  #heldBytes = 0;
  /** When a thin line has sent what it was given, and when the last of it arrives. */
  #freeMs = 0;
  #dueMs = 0;
  #isOpen = false;
  #isSilenced = false;
  #isTimed = false;

  constructor(
    ends: { readonly from: net.Socket; readonly to: net.Socket },
    direction: Direction,
    faults: LinkFaults,
  ) {
    this.#from = ends.from;
    this.#to = ends.to;
    this.#direction = direction;
    this.#faults = faults;
    ends.to.on("drain", () => this.pump());
  }

  get isSilenced(): boolean {
    return this.#isSilenced;
  }

  open(): void {
    this.#isOpen = true;
    this.pump();
  }

  /** What arrives from now on is lost. */
  silence(): void {
    this.#isSilenced = true;
    this.#waiting.length = 0;
    this.#heldBytes = 0;
  }

  push(chunk: Uint8Array): void {
    if (this.#isSilenced) return;
    this.#heldBytes += chunk.byteLength;
    if (this.#heldBytes > this.#heldMax) this.#from.pause();
    const size = Number.isFinite(this.#rate) ? PIECE_SIZE : chunk.byteLength;
    for (let at = 0; at < chunk.byteLength; at += size) this.#queue(chunk.subarray(at, at + size));
  }

  get #rate(): number {
    return this.#faults.bytesPerSecond(this.#direction);
  }

  get #heldMax(): number {
    return Math.min(HELD_BYTES_MAX, this.#rate * THIN_QUEUE_SECONDS);
  }

  /** The sender closed: that, too, arrives as late as bytes do. */
  end(): void {
    if (!this.#isSilenced) this.#queue(undefined);
  }

  #queue(chunk: Uint8Array | undefined): void {
    const sendMs = ((chunk?.byteLength ?? 0) / this.#rate) * 1000;
    this.#freeMs = Math.max(systemClock.nowMs(), this.#freeMs) + sendMs;
    const dueMs = this.#freeMs + this.#faults.delayMs(this.#direction);
    // In order, whatever the jitter.
    this.#dueMs = Math.max(this.#dueMs, dueMs);
    this.#waiting.push({ chunk, dueMs: this.#dueMs });
    this.pump();
  }

  /** Passes on what is due. */
  pump(): void {
    if (!this.#isOpen && !this.#to.destroyed) return;
    for (;;) {
      const next = this.#waiting[0];
      if (next === undefined || this.#faults.has("blackHole", this.#direction)) return;
      if (!this.#to.destroyed && this.#to.writableNeedDrain) return; // "drain" goes on.
      const waitMs = next.dueMs - systemClock.nowMs();
      if (waitMs > 0) return this.#later(waitMs);
      this.#waiting.shift();
      if (next.chunk === undefined) {
        this.#to.end();
        return;
      }
      this.#heldBytes -= next.chunk.byteLength;
      if (this.#heldBytes <= this.#heldMax && this.#from.isPaused()) this.#from.resume();
      if (this.#to.destroyed) continue;
      this.#faults.noteCarried(this.#direction, next.chunk.byteLength);
      this.#to.write(next.chunk);
    }
  }

  #later(waitMs: number): void {
    if (this.#isTimed) return;
    this.#isTimed = true;
    systemClock.setTimer(Math.ceil(waitMs), () => {
      this.#isTimed = false;
      this.pump();
    });
  }
}
