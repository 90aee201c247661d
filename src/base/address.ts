/**
 * Addresses and node ids: HOST:PORT, seeds, and what may stand there.
 *
 * @module
 */

import { ConfigError } from "./errors.ts";

/** Host and port. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** HOST:PORT, with brackets around an IPv6 host. */
export function writeEndpoint({ host, port }: Endpoint): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Splits "host:port", "[::1]:port" or "host". A scheme in front is ignored. Throws ConfigError. */
export function parseEndpoint(address: string, port?: number): Endpoint {
  const bare = address.replace(/^[a-z]+:\/\//, "").replace(/\/$/, "");
  const match = /^(\[[0-9a-fA-F:]+\]|[^:\s]+)(?::(\d+))?$/.exec(bare);
  const portText = match?.[2];
  const number = portText === undefined ? port : Number(portText);
  if (match?.[1] === undefined || number === undefined || !(number >= 0 && number <= 65_535)) {
    throw new ConfigError(`Cannot use the address "${address}": it is not HOST:PORT`, {
      remedy: "Write it like 127.0.0.1:7001 or [::1]:7001",
    });
  }
  return { host: match[1].replace(/^\[|\]$/g, ""), port: number };
}

/** Checks a seed: HOST:PORT, dns:HOST:PORT or srv:NAME. Throws ConfigError. */
export function checkSeed(seed: string): void {
  if (seed.startsWith("srv:")) {
    if (/^srv:[A-Za-z0-9._-]+$/.test(seed)) return;
    throw new ConfigError(`Cannot use the seed "${seed}": after srv: comes a DNS name`);
  }
  parseEndpoint(seed.replace(/^dns:/, ""));
}

/** Checks HOST:PORT, with a port that can be dialled. Throws ConfigError. */
export function checkAddress(address: string): void {
  if (parseEndpoint(address).port > 0) return;
  throw new ConfigError(`Cannot use the address "${address}": it has no port`);
}

/** Checks a node id. Throws ConfigError. */
export function checkId(id: unknown): void {
  if (typeof id !== "string" || !/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(id)) {
    throw new ConfigError(`Cannot use the node id "${String(id)}"`, {
      remedy:
        "Use 1 to 63 letters, digits, dots, dashes or underscores, starting with a letter or digit",
    });
  }
}

/** Address of an embedded database, which does not listen. */
export const EMBEDDED_ADDRESS = "127.0.0.1:0";
