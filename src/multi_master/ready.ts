/**
 * Effects that the driver must carry out, in the order of the fields.
 *
 * @module
 */

import type { Origin } from "./dot.ts";
import type { MultiMasterMessage } from "./message.ts";
import type { Operation } from "./operation.ts";

/** Events for alarms and metrics. */
export type MultiMasterEvent =
  /** An origin's clock is ahead of this node's: its operations wait. */
  | { readonly type: "CLOCK_SKEW"; readonly origin: Origin; readonly aheadMs: number }
  /** Operations of that origin are taken in again. */
  | { readonly type: "CLOCK_SKEW_ENDED"; readonly origin: Origin }
  /**
   * This node's stamps are ahead of its clock, because that was ahead once. Others make its
   * operations wait until time has come; a new incarnation with another member's state need not.
   */
  | { readonly type: "OWN_CLOCK_SKEW"; readonly aheadMs: number }
  /** Others hold operations of this origin that this node has not: a part of its log is lost. */
  | { readonly type: "OWN_ORIGIN_AHEAD"; readonly sequence: number }
  /**
   * This node stopped: it begins again with a member's state, under a new origin. `unsent` are the
   * operations that no member is known to have.
   */
  | { readonly type: "RESEED_NEEDED"; readonly unsent: readonly Operation[] }
  | { readonly type: "MESSAGE_REFUSED"; readonly from: string; readonly reason: string };

/** Everything decided since the last Ready was taken. */
export interface MultiMasterReady {
  /** 1, 2, 3 ...: what `persisted()` answers with. */
  readonly number: number;
  /** Send now, beside the writing. */
  readonly messages: readonly MultiMasterMessage[];
  /** Make durable, in this order, each in its origin's stream; one sync at the end. */
  readonly operations: readonly Operation[];
  /**
   * Send only after the above is on disk: an own operation that leaves before may be lost in a
   * crash, and its number given to another one.
   */
  readonly messagesAfterPersist: readonly MultiMasterMessage[];
  readonly events: readonly MultiMasterEvent[];
}
