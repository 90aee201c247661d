/**
 * NodeDiscovery: where nodes may be found. Finding a node never makes it a member: that takes an
 * entry in the log.
 *
 * @module
 */

import { checkSeed, parseEndpoint, writeEndpoint } from "../base/address.ts";
import { UnreachableError } from "../base/errors.ts";
import { type Resolver, systemResolver } from "../platform/resolver.ts";

/** Asks anew each time, so that changed names are seen. */
export class NodeDiscovery {
  readonly #seeds: readonly string[];
  readonly #resolver: Resolver;

  /**
   * `seeds`: `HOST:PORT` of a node; `dns:HOST:PORT`, all A and AAAA records of a name; `srv:NAME`,
   * the targets and ports of its SRV records. Throws ConfigError.
   */
  constructor(seeds: readonly string[], resolver: Resolver = systemResolver) {
    for (const seed of seeds) checkSeed(seed);
    this.#seeds = seeds;
    this.#resolver = resolver;
  }

  /** Addresses as `HOST:PORT`. Rejects with UnreachableError when no seed gives any. */
  async find(): Promise<string[]> {
    const found: string[] = [];
    const problems: string[] = [];
    for (const seed of this.#seeds) {
      try {
        found.push(...(await this.#resolve(seed)));
      } catch (cause) {
        problems.push(`${seed}: ${cause instanceof Error ? cause.message : String(cause)}`);
      }
    }
    if (found.length === 0) {
      throw new UnreachableError(`Cannot find a node: ${problems.join("; ")}`);
    }
    return [...new Set(found)];
  }

  async #resolve(seed: string): Promise<readonly string[]> {
    if (seed.startsWith("srv:")) {
      const records = await this.#resolver.services(seed.slice(4));
      return records.map(({ host, port }) => writeEndpoint({ host, port }));
    }
    if (!seed.startsWith("dns:")) return [seed];
    const { host, port } = parseEndpoint(seed.slice(4));
    const addresses = await this.#resolver.addresses(host);
    return addresses.map((address) => writeEndpoint({ host: address, port }));
  }
}
