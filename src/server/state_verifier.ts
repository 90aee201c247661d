/**
 * Comparing the members' states: a DIGEST entry in the log freezes every member's state at the very
 * same entry; each digests its own in slices, and keeps it for questions down to the document.
 *
 * @module
 */

import { DeadlineError, NotFoundError, ValidationError } from "../base/errors.ts";
import { POLL_INTERVAL_MS } from "../base/timing.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { DIGEST_RANGES, FrozenDigest } from "../database/state_digest.ts";
import { type CancelTimer, type Clock, sleep } from "../platform/clock.ts";
import type { DigestReply, DocumentsReply, StateDigest } from "../protocol/wire/reply.ts";
import type { ClusterRequest } from "../protocol/wire/request.ts";

/** A frozen state holds compaction back, so it is not kept for long. */
const KEPT_MS = 60_000;
const WAIT_MS = 20_000;
/** Slices before others get a turn. */
const SLICES_PER_TURN = 4;

interface Kept {
  readonly index: number;
  readonly frozen: FrozenDigest;
  readonly digest: Promise<StateDigest>;
  readonly cancelExpiry: CancelTimer;
}

type StateRequest = Extract<ClusterRequest, { readonly action: "digest" | "documents" }>;

/** The digest of one node's state. */
export class StateVerifier {
  readonly #clock: Clock;
  readonly #machine: DocumentStateMachine;
  #kept: Kept | undefined;

  constructor(clock: Clock, machine: DocumentStateMachine) {
    this.#clock = clock;
    this.#machine = machine;
    machine.onDigest = () => this.#freeze();
  }

  /** Answers `digest` and `documents`. Rejects with NotFoundError, DeadlineError. */
  async answer(request: StateRequest): Promise<DigestReply | DocumentsReply> {
    const { index } = request;
    const kept = await this.#at(index);
    if (request.action === "digest") return { index, ...(await kept.digest) };
    const { collection, range } = request;
    if (range >= DIGEST_RANGES) {
      throw new ValidationError("Cannot list documents: name a collection and a range below 256");
    }
    const documents = await this.#run(kept.frozen.documents(collection, range));
    return { index, documents };
  }

  stop(): void {
    this.#drop();
  }

  async #at(index: number): Promise<Kept> {
    const endMs = this.#clock.nowMs() + WAIT_MS;
    while (this.#machine.appliedIndex < index && this.#clock.nowMs() < endMs) {
      await sleep(this.#clock, POLL_INTERVAL_MS.digest);
    }
    if (this.#kept?.index === index) return this.#kept;
    if (this.#machine.appliedIndex < index) {
      throw new DeadlineError(`Cannot digest the state: entry ${index} is not applied here yet`);
    }
    throw new NotFoundError(`Cannot digest the state as of entry ${index}: it is not kept here`, {
      remedy: "Run the comparison again; it takes one at a time",
    });
  }

  #freeze(): void {
    this.#drop();
    const frozen = new FrozenDigest(this.#machine);
    const { index } = frozen.position;
    const cancelExpiry = this.#clock.setTimer(KEPT_MS, () => this.#drop());
    const digest = this.#run(frozen.digest());
    // Callers of the digest receive its failure; there may be none.
    digest.catch(() => undefined);
    this.#kept = { index, frozen, digest, cancelExpiry };
  }

  #drop(): void {
    this.#kept?.cancelExpiry();
    this.#kept?.frozen.thaw();
    this.#kept = undefined;
  }

  async #run<T>(work: Generator<undefined, T>): Promise<T> {
    for (let slices = 1; ; slices += 1) {
      const step = work.next();
      if (step.done === true) return step.value;
      if (slices % SLICES_PER_TURN === 0) {
        await new Promise<void>((resolve) => this.#clock.soon(resolve));
      }
    }
  }
}
