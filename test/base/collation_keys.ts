/**
 * The keys of a collation that all machines must make alike, as one checksum.
 *
 * @module
 */

import { type Collation, collationKey } from "../../src/base/collation.ts";

/** Code units in the texts: all that are folded, and others. */
const UNITS = 0x3000;

/** FNV-1a over the keys of each unit alone, of it between letters, and of it behind an accent. */
export function checksumOfKeys(collation: Collation): number {
  let hash = 0x811c9dc5;
  for (let code = 0; code < UNITS; code += 1) {
    const unit = String.fromCharCode(code);
    for (const text of [unit, `a${unit}\u0323z`, `и\u0306${unit}`]) {
      for (const found of `${collationKey(text, collation)}\n`) {
        hash = Math.imul(hash ^ (found.codePointAt(0) ?? 0), 0x01000193);
      }
    }
  }
  return hash >>> 0;
}

/** By strength. They never change: version 1 is part of the state of clusters. */
export const KEYS_OF_VERSION_1 = { 1: 3_868_019_865, 2: 35_464_731, 3: 1_346_122_001 } as const;
