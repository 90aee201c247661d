/**
 * What the driver carries out: operations in their order, synced before `persisted()` is called; the
 * rest at any time.
 *
 * @module
 */

import type { VisibleChange } from "./document/written_document.ts";
import type { MultiMasterMessage, ReseedMessage } from "./message.ts";
import type { Dot, Origin, OriginSequence } from "./operation/dot.ts";
import type { Operation } from "./operation/operation.ts";

/** Events for alarms and metrics. */
export type MultiMasterEvent =
  /** An origin's clock is ahead of this node's: its operations wait. */
  | { readonly type: "CLOCK_SKEW"; readonly origin: Origin; readonly aheadMs: number }
  /** Operations of that origin are taken in again. */
  | { readonly type: "CLOCK_SKEW_ENDED"; readonly origin: Origin }
  /**
   * This node's clock stands apart from most members' by so much: it goes by theirs, and somebody
   * must set it.
   */
  | { readonly type: "OWN_CLOCK_BEHIND" | "OWN_CLOCK_AHEAD"; readonly byMs: number }
  /** It agrees with them again. */
  | { readonly type: "OWN_CLOCK_RIGHT" }
  /**
   * This node's stamps are ahead of the time, because its clock was ahead once. Others make its
   * operations wait until time has come; a new incarnation with another member's state need not.
   */
  | { readonly type: "OWN_STAMPS_AHEAD"; readonly aheadMs: number }
  /** Others hold operations of this origin that this node has not: a part of its log is lost. */
  | {
      readonly type: "OWN_ORIGIN_AHEAD";
      readonly origin: Origin;
      readonly sequence: OriginSequence;
    }
  /** An origin gave one number to two operations: its disk has lost what was synced. */
  | { readonly type: "ORIGIN_FORKED"; readonly origin: Origin; readonly sequence: OriginSequence }
  /** An operation has waited for long for one that no member has sent. */
  | { readonly type: "OPERATION_WAITS"; readonly operation: Dot; readonly missing: Dot }
  /** Operations of that origin are taken in again. */
  | { readonly type: "OPERATION_WAITS_ENDED"; readonly origin: Origin }
  /**
   * This node stopped: it begins again with a member's state, under a new origin. What is
   * `unacknowledged` are the numbers of its operations that no member is known to have.
   */
  | {
      readonly type: "RESEED_NEEDED";
      readonly reason: ReseedMessage["reason"] | "ahead";
      readonly unacknowledged:
        | { readonly first: OriginSequence; readonly last: OriginSequence }
        | undefined;
    }
  | { readonly type: "MESSAGE_REFUSED"; readonly from: string; readonly reason: string };

/** Everything decided since the last Ready was taken. */
export interface MultiMasterReady {
  /** 1, 2, 3 ...: what `persisted()` answers with. */
  readonly number: number;
  /** Send now, beside the writing: they speak of nothing that is not on disk. */
  readonly messages: readonly MultiMasterMessage[];
  /** Append to the streams of their origins, in this order, and sync; then call `persisted()`. */
  readonly operations: readonly Operation[];
  /** What readers see of the operations, in their order; for indexes and streams of changes. */
  readonly changes: readonly VisibleChange[];
  /** Where reading must start: operations from there on are not in memory. Then call `loaded()`. */
  readonly loads: readonly Dot[];
  readonly events: readonly MultiMasterEvent[];
}
