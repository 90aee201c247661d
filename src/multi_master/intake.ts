/**
 * Whether an operation from another node is taken in now: it is well formed, its origin's clock is
 * right, this node knows the agreement that its writer knew, and has all that its writer had.
 *
 * @module
 */

import { ValidationError } from "../base/errors.ts";
import type { Bases } from "./document/bases.ts";
import type { DocumentCodec } from "./document/conflict_resolver.ts";
import { type Agreement, endOf, isOpen, isRetired } from "./operation/agreement.ts";
import type { Dot, Origin } from "./operation/dot.ts";
import type { Operation, PackedChange, PackedOperation } from "./operation/operation.ts";
import { faultOf, hasContents } from "./operation/operation_check.ts";
import { seen, type VersionVector } from "./operation/version_vector.ts";
import type { MultiMasterEvent } from "./ready.ts";

/** What becomes of an operation. */
export type Verdict =
  | { readonly kind: "take"; readonly operation: Operation }
  /** It is here already. */
  | { readonly kind: "known" }
  /** Later ones of its origin wait behind it. `isPull`: others may have what it waits for. */
  | { readonly kind: "wait"; readonly isPull: boolean }
  /** It never counts. */
  | { readonly kind: "refuse"; readonly reason: string }
  /** Its number was given to another operation. */
  | { readonly kind: "fork" };

/** What the judgement rests on. */
export interface IntakeState {
  readonly agreement: Agreement;
  readonly cursor: VersionVector;
  readonly chains: ReadonlyMap<Origin, number>;
  /** The time that counts, ms since 1970. */
  readonly timeMs: number;
}

/** What an intake needs to know once. */
export interface IntakeParts {
  readonly driftMaxMs: number;
  readonly waitTicks: number;
  readonly codec: Pick<DocumentCodec, "isDocument">;
  readonly checksum: (operation: Omit<Operation, "chain">, previous: number) => number;
}

interface Waiting {
  readonly operation: Dot;
  readonly missing: Dot;
  readonly sinceTick: number;
  isTold: boolean;
}

/** The judgement over operations from outside. */
export class Intake {
  readonly #parts: IntakeParts;
  readonly #bases: () => Bases;
  /** Origins whose operations are too far ahead of the time. */
  readonly #quarantined = new Set<Origin>();
  readonly #waiting = new Map<Origin, Waiting>();
  /** The context of the last operation that was well formed: others share it. */
  #checked: VersionVector | undefined;
  /** The last context of which nothing was missing: what is here stays here. */
  #complete: VersionVector | undefined;
  /** The ends of incarnations by one agreement. */
  #ends: { readonly agreement: Agreement; readonly of: Map<Origin, number> } | undefined;
  #events: MultiMasterEvent[] = [];

  constructor(parts: IntakeParts, bases: () => Bases) {
    this.#parts = parts;
    this.#bases = bases;
  }

  judge(packed: PackedOperation, state: IntakeState, tick: number): Verdict {
    const isChecked = this.#checked !== undefined && packed.context === this.#checked;
    const fault = faultOf(packed, isChecked);
    if (fault === undefined) this.#checked = packed.context;
    if (fault !== undefined) return { kind: "refuse", reason: `an operation is broken: ${fault}` };
    const { origin, sequence } = packed;
    const last = seen(state.cursor, origin);
    if (sequence <= last) {
      const isFork = sequence === last && state.chains.get(origin) !== packed.chain;
      return isFork ? { kind: "fork" } : { kind: "known" };
    }
    const { version } = state.agreement;
    // Its writer may know origins and collections of which this node has not heard yet.
    if (packed.version > version) return { kind: "wait", isPull: false };
    if (sequence > this.#endOf(state.agreement, origin)) {
      return { kind: "refuse", reason: `operation ${sequence} of ${origin} is behind its end` };
    }
    if (this.#isAhead(packed, state.timeMs)) return { kind: "wait", isPull: false };
    const reason = tokenFault(packed, state.agreement) ?? this.#bodyFault(packed);
    if (reason !== undefined) return { kind: "refuse", reason };
    if (sequence > last + 1 || packed.context !== this.#complete) {
      const missing = missingFor(packed, state);
      if (missing !== undefined) {
        this.#wait(packed, missing, tick);
        return { kind: "wait", isPull: true };
      }
      this.#complete = packed.context;
    }
    return this.#judgeWhole(packed, state.chains.get(origin) ?? 0);
  }

  #judgeWhole(packed: PackedOperation, previous: number): Verdict {
    const { origin } = packed;
    if (this.#bases().isOverFull(origin)) {
      return { kind: "refuse", reason: `${origin} lets others keep too many documents` };
    }
    try {
      const operation = this.#bases().unpack(packed);
      if (operation !== packed && (!hasContents(operation) || this.#bodyFault(operation))) {
        return { kind: "fork" };
      }
      if (this.#parts.checksum(operation, previous) !== operation.chain) return { kind: "fork" };
      this.#go(origin);
      return { kind: "take", operation };
    } catch (error) {
      if (!(error instanceof ValidationError)) throw error;
      // Of a whole one a part cannot be encoded; a delta was made of what this node does not have.
      const isWhole = packed.changes.every(({ content }) => content !== undefined);
      return isWhole ? { kind: "refuse", reason: error.message } : { kind: "fork" };
    }
  }

  #endOf(agreement: Agreement, origin: Origin): number {
    if (this.#ends?.agreement !== agreement) this.#ends = { agreement, of: new Map() };
    const known = this.#ends.of.get(origin);
    if (known !== undefined) return known;
    const end = endOf(agreement, origin);
    // Origins that nobody knows are not kept: a message may name any.
    if (end > 0) this.#ends.of.set(origin, end);
    return end;
  }

  #bodyFault({ changes }: PackedOperation): string | undefined {
    const { codec } = this.#parts;
    const isBroken = ({ content, packed }: PackedChange): boolean =>
      content === undefined
        ? !codec.isDocument(packed.delta)
        : content.kind === "document" && !codec.isDocument(content.body);
    return changes.some(isBroken) ? "an operation writes what is no document" : undefined;
  }

  /** Time passes: what has waited for long is told. */
  tick(tick: number): void {
    for (const waiting of this.#waiting.values()) {
      if (waiting.isTold || tick - waiting.sinceTick < this.#parts.waitTicks) continue;
      waiting.isTold = true;
      const { operation, missing } = waiting;
      this.#events.push({ type: "OPERATION_WAITS", operation, missing });
    }
  }

  /** The alarms since the last call. */
  takeEvents(): readonly MultiMasterEvent[] {
    const events = this.#events;
    if (events.length > 0) this.#events = [];
    return events;
  }

  #isAhead({ origin, stamp }: PackedOperation, timeMs: number): boolean {
    const aheadMs = stamp.wallMs - timeMs;
    if (aheadMs > this.#parts.driftMaxMs) {
      if (!this.#quarantined.has(origin))
        this.#events.push({ type: "CLOCK_SKEW", origin, aheadMs });
      this.#quarantined.add(origin);
      return true;
    }
    if (this.#quarantined.delete(origin)) this.#events.push({ type: "CLOCK_SKEW_ENDED", origin });
    return false;
  }

  #wait({ origin, sequence }: Dot, missing: Dot, tick: number): void {
    const before = this.#waiting.get(origin);
    if (before?.operation.sequence === sequence) return;
    // An earlier one of the same origin that came later waits in its place.
    if (before !== undefined && before.operation.sequence < sequence) return;
    const operation = { origin, sequence };
    const isTold = before?.isTold === true;
    this.#waiting.set(origin, { operation, missing, sinceTick: tick, isTold });
  }

  #go(origin: Origin): void {
    if (this.#waiting.size === 0) return;
    if (this.#waiting.get(origin)?.isTold === true) {
      this.#events.push({ type: "OPERATION_WAITS_ENDED", origin });
    }
    this.#waiting.delete(origin);
  }
}

/** A write follows what its client has seen, which is a part of what its node had. */
function tokenFault(operation: PackedOperation, agreement: Agreement): string | undefined {
  const { origin, sequence, context, changes } = operation;
  for (const { seen: token } of changes) {
    for (const [other, last] of token?.cursor ?? []) {
      if (isRetired(agreement, other)) continue;
      const had = other === origin ? sequence - 1 : (context.get(other) ?? 0);
      if (last > had) return `operation ${sequence} of ${origin} has seen more than its node had`;
    }
  }
  return undefined;
}

/** The first operation that must be here before this one; undefined if all are. */
function missingFor(
  operation: PackedOperation,
  { agreement, cursor }: IntakeState,
): Dot | undefined {
  const { origin, sequence, context } = operation;
  const next = seen(cursor, origin) + 1;
  if (sequence > next) return { origin, sequence: next };
  for (const [other, wanted] of context) {
    if (seen(cursor, other) >= wanted || isRetired(agreement, other)) continue;
    // Nothing behind the end of an incarnation that is over is waited for, once that is known.
    const end = isOpen(agreement, other) ? undefined : agreement.closed.get(other);
    if (seen(cursor, other) < Math.min(wanted, end ?? wanted)) {
      return { origin: other, sequence: wanted };
    }
  }
  return undefined;
}
