/**
 * Two-phase commit, decided: what a coordinator does next with one transaction. Presumed abort: a
 * transaction of which no decision is on record is rolled back (Mohan, Lindsay and Obermarck, 1986,
 * "Transaction Management in the R* Distributed Database Management System").
 *
 * `PREPARING`: every participant is requested to make its part durable. `DECIDING`: the decision is
 * on its way to the log. `SETTLING`: it is on record, and sent to each participant until that has
 * carried it out. `DONE`: the record is not needed any more.
 *
 * @module
 */

import { assert } from "../base/assert.ts";

/** How a transaction ends. */
export type Decision = "COMMIT" | "ROLLBACK";

/** One transaction as its coordinator sees it. */
export interface Coordination {
  readonly id: string;
  readonly participants: readonly string[];
  readonly phase: "PREPARING" | "DECIDING" | "SETTLING" | "DONE";
  /** From the moment that it is on record. */
  readonly decision: Decision | undefined;
  /** Participants that have not answered in this phase. */
  readonly waiting: ReadonlySet<string>;
}

/** Events that a coordinator receives. */
export type CoordinationEvent =
  | { readonly type: "VOTED"; readonly participant: string; readonly isYes: boolean }
  /** There is no more time for votes. */
  | { readonly type: "TIMED_OUT" }
  /** On record; another coordinator may have put its own decision there before. */
  | { readonly type: "DECIDED"; readonly decision: Decision }
  /** A participant has carried the decision out. */
  | { readonly type: "SETTLED"; readonly participant: string };

/** Work for a coordinator. */
export type CoordinationEffect =
  | { readonly type: "PREPARE" | "FINALIZE" | "ROLL_BACK"; readonly participant: string }
  /** Put the decision on record; no participant receives it before that. */
  | { readonly type: "DECIDE"; readonly decision: Decision }
  /** The record may go. */
  | { readonly type: "FORGET" };

/** A state and what follows from reaching it. */
export interface CoordinationStep {
  readonly next: Coordination;
  readonly effects: readonly CoordinationEffect[];
}

/** A transaction whose participants are on record. */
export function beginCoordination(id: string, participants: readonly string[]): CoordinationStep {
  const waiting = new Set(participants);
  assert(waiting.size === participants.length, "a participant stands in the list once");
  const next: Coordination = { id, participants, phase: "PREPARING", decision: undefined, waiting };
  if (participants.length === 0) return decide(next, "COMMIT");
  return { next, effects: tell(next, "PREPARE") };
}

/** A transaction that a coordinator left behind, and the decision on record, if there is one. */
export function resumeCoordination(
  id: string,
  participants: readonly string[],
  decision: Decision | undefined,
): CoordinationStep {
  const waiting = new Set(participants);
  const found: Coordination = { id, participants, phase: "DECIDING", decision, waiting };
  return decision === undefined ? decide(found, "ROLLBACK") : settle(found, decision);
}

/** The step that an event leads to. Events that come late or twice change nothing. */
export function advanceCoordination(
  state: Coordination,
  event: CoordinationEvent,
): CoordinationStep {
  switch (event.type) {
    case "VOTED":
      return state.phase === "PREPARING" ? voted(state, event) : unchanged(state);
    case "TIMED_OUT":
      return state.phase === "PREPARING" ? decide(state, "ROLLBACK") : unchanged(state);
    case "DECIDED":
      return state.phase === "DECIDING" ? settle(state, event.decision) : unchanged(state);
    case "SETTLED":
      return state.phase === "SETTLING" ? settled(state, event.participant) : unchanged(state);
  }
}

function voted(
  state: Coordination,
  { participant, isYes }: { readonly participant: string; readonly isYes: boolean },
): CoordinationStep {
  if (!isYes) return decide(state, "ROLLBACK");
  const next = { ...state, waiting: without(state.waiting, participant) };
  return next.waiting.size === 0 ? decide(next, "COMMIT") : unchanged(next);
}

function settled(state: Coordination, participant: string): CoordinationStep {
  const next = { ...state, waiting: without(state.waiting, participant) };
  return next.waiting.size === 0 ? done(next) : unchanged(next);
}

function decide(state: Coordination, decision: Decision): CoordinationStep {
  const next: Coordination = { ...state, phase: "DECIDING", waiting: new Set() };
  return { next, effects: [{ type: "DECIDE", decision }] };
}

function settle(state: Coordination, decision: Decision): CoordinationStep {
  const waiting = new Set(state.participants);
  const next: Coordination = { ...state, phase: "SETTLING", decision, waiting };
  if (waiting.size === 0) return done(next);
  return { next, effects: tell(next, decision === "COMMIT" ? "FINALIZE" : "ROLL_BACK") };
}

function done(state: Coordination): CoordinationStep {
  return { next: { ...state, phase: "DONE" }, effects: [{ type: "FORGET" }] };
}

function tell(
  { participants }: Coordination,
  type: "PREPARE" | "FINALIZE" | "ROLL_BACK",
): readonly CoordinationEffect[] {
  return participants.map((participant) => ({ type, participant }));
}

function without(waiting: ReadonlySet<string>, participant: string): ReadonlySet<string> {
  return new Set([...waiting].filter((other) => other !== participant));
}

function unchanged(next: Coordination): CoordinationStep {
  return { next, effects: [] };
}
