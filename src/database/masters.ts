/**
 * The part of the replicated state that says which collections every node writes, and what the
 * nodes have agreed upon for it.
 *
 * @module
 */

import type { Agreement } from "../multi_master/operation/agreement.ts";
import {
  changeAgreement,
  NO_AGREEMENT,
  withCollection,
  withoutCollection,
} from "../multi_master/operation/agreement_change.ts";
import type { ConflictConfig } from "../multi_master/operation/conflict_rule.ts";
import { decodeCbor } from "../protocol/encoding/cbor.ts";
import { DEFAULT_CONFLICT } from "../protocol/encoding/conflict_settings.ts";
import {
  type NewCollections,
  readAgreementCommand,
} from "../protocol/operations/agreement_codec.ts";

/** What is agreed about collections that every node writes. */
export interface MastersState {
  readonly agreement: Agreement;
  readonly newCollections: NewCollections;
}

/** Nothing is agreed yet. */
export const NO_MASTERS: MastersState = {
  agreement: NO_AGREEMENT,
  newCollections: { mode: "MASTER_SLAVE", conflict: DEFAULT_CONFLICT },
};

/** The agreement, as entries change it. */
export class Masters {
  #state = NO_MASTERS;

  get state(): MastersState {
    return this.#state;
  }

  restore(state: MastersState): void {
    this.#state = state;
  }

  /** Carries out an AGREEMENT. The mode of new collections is chosen before there is any. */
  apply(body: Uint8Array, isEmpty: boolean): void {
    const { agreement, newCollections } = this.#state;
    const { change, mode } = readAgreementCommand(decodeCbor(body));
    this.#state = {
      agreement: change === undefined ? agreement : changeAgreement(agreement, change),
      newCollections: mode !== undefined && isEmpty ? mode : newCollections,
    };
  }

  /** Agrees upon a collection that every node writes; gives its number. */
  agree(rule: ConflictConfig): number {
    const agreement = withCollection(this.#state.agreement, rule);
    this.#state = { ...this.#state, agreement };
    return agreement.version;
  }

  /** Such a collection is gone. */
  disagree(collectionId: number): void {
    const agreement = withoutCollection(this.#state.agreement, collectionId);
    this.#state = { ...this.#state, agreement };
  }
}
