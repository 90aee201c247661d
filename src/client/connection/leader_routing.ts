/**
 * Chooses the node to send to, by what is known of the leader. Pure.
 *
 * @module
 */

import { type CStoreError, UnreachableError } from "../../base/errors.ts";

/** Facts about a channel that routing needs. */
export interface Route {
  readonly nodeId: string;
  readonly address: string;
  readonly isUp: boolean;
}

/**
 * Position of the channel to use: the leader's if it is known and up, else the next one that is up,
 * from `from` on: any node answers with the leader's address. -1 when none is up.
 */
export function chooseChannel(routes: readonly Route[], leaderId: string, from: number): number {
  if (leaderId !== "") {
    const leader = routes.findIndex((route) => route.isUp && route.nodeId === leaderId);
    if (leader !== -1) return leader;
  }
  for (let i = 0; i < routes.length; i += 1) {
    const at = (from + i) % routes.length;
    if (routes[at]?.isUp === true) return at;
  }
  return -1;
}

/**
 * Position of the node that is likely to lead next: the first that is connected. Requests may wait
 * there until it does.
 */
export function likelyNext(routes: readonly Route[]): number {
  let next = -1;
  for (const [at, { nodeId, isUp }] of routes.entries()) {
    if (isUp && (next === -1 || nodeId < (routes[next]?.nodeId ?? ""))) next = at;
  }
  return Math.max(0, next);
}

/** No node answered in time. */
export function nobodyReached(
  routes: readonly Route[],
  wait: { readonly timeoutMs: number; readonly cause: unknown },
): CStoreError {
  const addresses = routes.map((route) => route.address).join(", ");
  return new UnreachableError(`Cannot reach any node at ${addresses} in ${wait.timeoutMs} ms`, {
    cause: wait.cause,
    remedy: "Check the addresses, and that the nodes run (`cstore cluster status`)",
  });
}
