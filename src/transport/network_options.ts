/**
 * Options of a NetworkManager.
 *
 * @module
 */

import type { KnownNames } from "../base/known_options.ts";
import type { Platform } from "../platform/platform.ts";

/** Options of a NetworkManager. */
export interface NetworkManagerOptions {
  /** Address to listen on; 127.0.0.1 unless set. */
  readonly host?: string;
  readonly platform?: Platform;
  /** Longest wait of `connect`, in milliseconds; 2000 unless set. */
  readonly connectTimeoutMs?: number;
  /** The port is opened by `listen` only, which has the hooks. */
  readonly waitsForHooks?: boolean;
}

/** Their names. */
export const NETWORK_OPTIONS: KnownNames = new Set([
  "host",
  "platform",
  "connectTimeoutMs",
  "waitsForHooks",
]);
