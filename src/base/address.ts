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
  const match = /^(\[[0-9a-fA-F:.]+(?:%[A-Za-z0-9_.-]+)?\]|[^:\s]+)(?::(\d+))?$/.exec(bare);
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

/**
 * Checks HOST:PORT under which others are to reach a node: a host and a port that can be dialled.
 * Throws ConfigError.
 */
export function checkAddress(address: string): void {
  const isPlain = /^(?:\[[^\]\s/]*:[^\]\s/]*\]|[A-Za-z0-9._-]+)(?::\d+)?$/.test(address);
  const endpoint = isPlain ? parseEndpoint(address) : undefined;
  const host = endpoint && plainHost(endpoint.host);
  if (endpoint === undefined || host === undefined) {
    throw new ConfigError(`Cannot use the address "${address}": it is not HOST:PORT`, {
      remedy: "Write it like 10.0.0.1:7001, db1.example.com:7001 or [fd00::1]:7001",
    });
  }
  if (endpoint.port === 0) {
    throw new ConfigError(`Cannot use the address "${address}": it has no port`);
  }
  if (!isWildcard(endpoint.host) && !isWildcard(host)) return;
  throw new ConfigError(`Cannot use the address "${address}": no other node can dial it`, {
    remedy: "Name the host as the others reach it; to listen on every interface use --listen",
  });
}

/** A host in its plainest form, `0x0` as 0.0.0.0; undefined for what cannot be one. */
function plainHost(host: string): string | undefined {
  if (host.split(".").slice(0, -1).includes("")) return undefined;
  const bare = host.replace(/%.*$/, "");
  try {
    return new URL(`http://${writeEndpoint({ host: bare, port: 1 })}`).hostname.replace(
      /[[\]]/g,
      "",
    );
  } catch {
    return undefined;
  }
}

/** Whether a host stands for every interface of a machine. */
export function isWildcard(host: string): boolean {
  return /^(?:\*|0+(?:\.0+){0,3}|[0:]*:[0:]*(?:0\.0\.0\.0)?|::ffff:0:0)$/.test(host);
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
