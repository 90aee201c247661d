/**
 * A port that is opened before anything else: a node whose port is taken ends before it has written
 * or asked for anything. Connections are hung up on until the node takes the port over.
 *
 * @module
 */

import type { Endpoint } from "../base/address.ts";
import type { Platform } from "../platform/platform.ts";
import type { Listener, Network, Socket } from "../platform/sockets.ts";

/** An open port that somebody is to take over. */
export class ReservedPort {
  readonly #listener: Listener;
  readonly #connect: Network["connect"];
  #onSocket: (socket: Socket) => void = (socket) => socket.destroy();

  private constructor(listener: Listener, connect: Network["connect"]) {
    this.#listener = listener;
    this.#connect = connect;
  }

  /** Rejects with UnreachableError when the port is taken. */
  static async open({ network }: Platform, endpoint: Endpoint): Promise<ReservedPort> {
    const reserved: { port?: ReservedPort } = {};
    const listener = await network.listen(endpoint, (socket) => {
      if (reserved.port === undefined) socket.destroy();
      else reserved.port.#onSocket(socket);
    });
    reserved.port = new ReservedPort(listener, (to, timeoutMs) => network.connect(to, timeoutMs));
    return reserved.port;
  }

  /** HOST:PORT; the port is the real one. */
  get endpoint(): Endpoint {
    return this.#listener.endpoint;
  }

  /** The platform's network, whose next listener is this one. */
  get network(): Network {
    return {
      connect: this.#connect,
      listen: async (_endpoint, onSocket) => {
        this.#onSocket = onSocket;
        return this.#listener;
      },
    };
  }

  close(): Promise<void> {
    return this.#listener.close();
  }
}
