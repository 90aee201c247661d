/**
 * TCP, over node:net on every runtime, with no-delay.
 *
 * @module
 */

import * as net from "node:net";
import type { Endpoint } from "../base/address.ts";
import { UnreachableError } from "../base/errors.ts";

/** Receives a socket's events. */
export interface SocketHandlers {
  /** Bytes arrived. The chunk is not overwritten later. */
  data(chunk: Uint8Array): void;
  /** After `write` returned false: there is room again. */
  drain(): void;
  /** The connection is over, for whatever reason. Called once, the last call. */
  close(): void;
}

/** One TCP connection. */
export interface Socket {
  readonly remoteAddress: string;
  /** Bytes handed to `write` that the kernel has not taken. */
  readonly unsentBytes: number;
  /** Sets the socket's handlers; called once, before anything arrives. */
  attach(handlers: SocketHandlers): void;
  /** Takes over the bytes, which must not change afterwards. False: wait for `drain`. */
  write(bytes: Uint8Array): boolean;
  /** Stops reading, so that the sender is slowed by TCP itself. */
  pause(): void;
  resume(): void;
  /** Sends the written bytes, then closes. */
  end(): void;
  /** Closes now. */
  destroy(): void;
}

/** An open port. */
export interface Listener {
  readonly endpoint: Endpoint;
  close(): Promise<void>;
}

/** Where connections come from. */
export interface Network {
  listen(endpoint: Endpoint, onSocket: (socket: Socket) => void): Promise<Listener>;
  /** Rejects with UnreachableError when there is no answer within `timeoutMs`. */
  connect(endpoint: Endpoint, timeoutMs: number): Promise<Socket>;
}

class SystemSocket implements Socket {
  readonly #socket: net.Socket;
  readonly remoteAddress: string;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    this.remoteAddress = `${socket.remoteAddress ?? "?"}:${socket.remotePort ?? 0}`;
    socket.setNoDelay(true);
  }

  get unsentBytes(): number {
    return this.#socket.writableLength;
  }

  attach(handlers: SocketHandlers): void {
    this.#socket.on("data", (chunk: Uint8Array) => handlers.data(chunk));
    this.#socket.on("drain", () => handlers.drain());
    this.#socket.on("error", () => this.#socket.destroy()); // "close" follows and is what counts.
    this.#socket.on("end", () => this.#socket.destroy());
    this.#socket.on("close", () => handlers.close());
  }

  write(bytes: Uint8Array): boolean {
    return this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** The machine's network. */
export const systemNetwork: Network = {
  listen(endpoint, onSocket) {
    return new Promise((resolve, reject) => {
      const sockets = new Set<net.Socket>();
      const server = net.createServer({ noDelay: true }, (socket) => {
        sockets.add(socket);
        socket.once("close", () => sockets.delete(socket));
        onSocket(new SystemSocket(socket));
      });
      server.once("error", (cause) => {
        const place = `${endpoint.host}:${endpoint.port}`;
        reject(new UnreachableError(`Cannot listen on ${place}: ${cause.message}`, { cause }));
      });
      server.listen({ host: endpoint.host, port: endpoint.port, backlog: 1024 }, () => {
        const address = server.address();
        const port = typeof address === "object" && address !== null ? address.port : endpoint.port;
        const close = (): Promise<void> => closeServer(server, sockets);
        resolve({ endpoint: { host: endpoint.host, port }, close });
      });
    });
  },
  connect(endpoint, timeoutMs) {
    return new Promise((resolve, reject) => {
      const place = `${endpoint.host}:${endpoint.port}`;
      const socket = net.connect({ host: endpoint.host, port: endpoint.port, noDelay: true });
      const timer = setTimeout(() => fail(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs);
      const fail = (cause: Error): void => {
        clearTimeout(timer);
        socket.destroy();
        const isRefused = "code" in cause && cause.code === "ECONNREFUSED";
        const message = `Cannot connect to ${place}: ${cause.message}`;
        reject(new UnreachableError(message, { cause, isRefused }));
      };
      socket.once("error", fail);
      socket.once("connect", () => {
        clearTimeout(timer);
        socket.off("error", fail);
        resolve(new SystemSocket(socket));
      });
    });
  },
};

function closeServer(server: net.Server, sockets: ReadonlySet<net.Socket>): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    for (const socket of sockets) socket.destroy();
  });
}
