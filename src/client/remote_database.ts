/**
 * `connect`: a database that runs elsewhere.
 *
 * @module
 */

import type { Validators } from "../api/validator.ts";
import type { ByteWriter } from "../base/bytes.ts";
import { ConfigError, DeadlineError, UnreachableError } from "../base/errors.ts";
import { checkConfig, type KnownNames } from "../base/known_options.ts";
import { encodeCbor } from "../protocol/encoding/cbor.ts";
import {
  type ClusterReplyTo,
  decodeClusterReply,
  decodePromoteReply,
  decodeStatus,
  type PromoteReply,
} from "../protocol/wire/reply.ts";
import type { ClusterRequest } from "../protocol/wire/request.ts";
import type { NodeStatus } from "../protocol/wire/status.ts";
import { Client } from "./connection/client.ts";
import type { ClientOptions } from "./connection/client_options.ts";
import { DatabaseBase } from "./database_base.ts";

/** A cluster reached over the network. */
export class RemoteDatabase extends DatabaseBase {
  readonly client: Client;

  constructor(client: Client, validators?: Validators) {
    super(() => client, validators);
    this.client = client;
  }

  override async open(): Promise<void> {}

  /** Status of the node that answers, and of its cluster as that node knows it. */
  async status(): Promise<NodeStatus> {
    const payload = await this.client.execute({
      kind: "STATUS",
      target: "any",
      write: () => undefined,
    });
    return decodeStatus(payload);
  }

  /**
   * Makes a node the leader. An answer that was lost counts for nothing if the node leads: then
   * `from` is empty. Rejects with NotFoundError, MembershipError, DeadlineError.
   */
  async promote(nodeId: string): Promise<PromoteReply> {
    const { clock } = this.client.platform;
    const startMs = clock.nowMs();
    const write = (writer: ByteWriter): void => {
      writer.text(nodeId);
    };
    try {
      return decodePromoteReply(
        await this.client.execute({ kind: "PROMOTE", target: "leader", write }),
      );
    } catch (error) {
      const isOpen = error instanceof DeadlineError || error instanceof UnreachableError;
      const found = isOpen ? await this.status().catch(() => undefined) : undefined;
      if (found?.leader !== nodeId) throw error;
      return { from: "", to: nodeId, term: found.term, stalledMs: clock.nowMs() - startMs };
    }
  }

  /**
   * Changes the cluster or answers a question about it. Rejects with MembershipError,
   * ValidationError, DeadlineError.
   */
  async cluster<R extends ClusterRequest>(
    request: R,
    target: "leader" | "any" = "leader",
  ): Promise<ClusterReplyTo<R>> {
    const body = encodeCbor(request).slice();
    const payload = await this.client.execute({
      kind: "CLUSTER",
      target,
      write: (writer: ByteWriter) => {
        writer.raw(body);
      },
    });
    return decodeClusterReply(request, payload);
  }

  override async close(): Promise<void> {
    this.client.close();
  }
}

/** Splits "cstore://a:1,b:2" or "a:1,b:2". Throws ConfigError. */
export function parseAddresses(url: string): string[] {
  const addresses = url
    .replace(/^cstore:\/\//, "")
    .replace(/\/$/, "")
    .split(",");
  const trimmed = addresses.map((address) => address.trim()).filter((address) => address !== "");
  if (trimmed.length === 0) {
    throw new ConfigError(`Cannot connect to "${url}": it names no node`, {
      remedy: "Write it like cstore://127.0.0.1:7001,127.0.0.1:7002",
    });
  }
  return trimmed;
}

/** Options of {@link connect}. */
export interface ConnectOptions extends ClientOptions {
  /** By the names under which collections ask for them. */
  readonly validators?: Validators;
}

const CONNECT_OPTIONS: KnownNames = new Set([
  ...["timeoutMs", "clusterId", "platform", "onLost", "validators"],
]);

/**
 * Connects to a cluster: `cstore://host:port,host:port`. One node that answers is enough; the
 * others are found through it. Rejects with UnreachableError, HandshakeError.
 */
export async function connect(url: string, options: ConnectOptions = {}): Promise<RemoteDatabase> {
  checkConfig("the options of connect", options, CONNECT_OPTIONS);
  const client = await Client.connect(parseAddresses(url), options);
  return new RemoteDatabase(client, options.validators);
}
