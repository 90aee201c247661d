/**
 * Messages of any network of the public interface.
 *
 * @module
 */

import type { ReplicationMessage } from "../../protocol/wire/replication_message.ts";
import type { INetworkManager } from "../../transport/inetwork_manager.ts";

/** Listens until the result is called; a network whose `onMessage` gives nothing goes on. */
export function listenTo(
  network: INetworkManager,
  listener: (message: ReplicationMessage) => void,
): () => void {
  const stop: unknown = network.onMessage(listener);
  return () => {
    if (typeof stop === "function") stop();
  };
}
