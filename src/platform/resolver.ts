/**
 * Names to addresses.
 *
 * @module
 */

import { lookup, resolveSrv } from "node:dns/promises";

/** Looks names up, anew each time. */
export interface Resolver {
  /** All A and AAAA addresses of a name. */
  addresses(name: string): Promise<readonly string[]>;
  /** Targets of the SRV records of a name, best priority first. */
  services(name: string): Promise<readonly { readonly host: string; readonly port: number }[]>;
}

/** The machine's resolver. */
export const systemResolver: Resolver = {
  async addresses(name) {
    const found = await lookup(name, { all: true });
    return found.map(({ address }) => address);
  },
  async services(name) {
    const found = await resolveSrv(name);
    found.sort((a, b) => a.priority - b.priority || b.weight - a.weight);
    return found.map((record) => ({ host: record.name, port: record.port }));
  },
};
