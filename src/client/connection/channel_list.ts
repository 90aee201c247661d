/**
 * The channels of a client: to the nodes that it was given, and to those that it learned of. All of
 * the former may be replaced while it runs, so it follows the members, and a learned node is
 * forgotten when it is no member any more.
 *
 * @module
 */

import type { LeaderNews } from "../../protocol/wire/leader_message.ts";
import type { NodeChannel } from "./node_channel.ts";

/** Opens channels where they are needed, one to an address. */
export class ChannelList {
  readonly #open: (address: string) => NodeChannel;
  readonly #given = new Set<string>();
  #channels: readonly NodeChannel[] = [];
  #members: readonly string[] = [];

  constructor(open: (address: string) => NodeChannel) {
    this.#open = open;
  }

  get all(): readonly NodeChannel[] {
    return this.#channels;
  }

  get up(): readonly NodeChannel[] {
    return this.#channels.filter(({ isUp }) => isUp);
  }

  /** A channel that stays until the end. */
  give(address: string, channel = this.#open(address)): void {
    this.#given.add(address);
    this.#channels = [...this.#channels, channel];
  }

  /** Goes to the leader, and forgets nodes that are away and no members. */
  learn({ nodeId, address, members }: LeaderNews): void {
    if (members.length > 0) {
      this.#members = members;
      const wanted = new Set([...this.#given, ...members, address]);
      const isKept = (channel: NodeChannel): boolean => channel.isUp || wanted.has(channel.address);
      for (const channel of this.#channels) if (!isKept(channel)) channel.close();
      this.#channels = this.#channels.filter(isKept);
    }
    if (nodeId === "") return;
    if (this.up.some((channel) => channel.nodeId === nodeId)) return;
    // It may have moved: the address that it was known at is not the only one to try.
    for (const channel of this.#channels) {
      if (channel.nodeId === nodeId || channel.address === address) channel.wake();
    }
    this.#dial(address);
  }

  /** No leader is known: connects to all members. */
  reachMembers(): void {
    for (const address of this.#members) this.#dial(address);
  }

  close(): void {
    this.#members = [];
    for (const channel of this.#channels) channel.close();
  }

  #dial(address: string): void {
    if (address === "" || this.#channels.some((channel) => channel.address === address)) return;
    this.#channels = [...this.#channels, this.#open(address)];
  }
}
