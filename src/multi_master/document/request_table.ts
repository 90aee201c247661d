/**
 * The requests that operations carried out, until the client has its answer and every member the
 * operation: a client that got none sends its request again, perhaps to another node, and it has
 * one effect. Where two nodes have carried it out before they met, their operations count as one.
 *
 * @module
 */

import { compareDots, type Dot, dotName, type Origin } from "../operation/dot.ts";
import type { Change, Operation, RequestName } from "../operation/operation.ts";

/** Names a document. */
type Name = Pick<Change, "collection" | "key">;

/** An operation with its request, and what it wrote. */
export interface Noted extends Dot {
  readonly request: RequestName;
  readonly documents: readonly Name[];
}

/** The requests that a seed carries. */
export interface SeedRequests {
  readonly noted: readonly Noted[];
  /** Operations of requests that were carried out more than once, each with the others. */
  readonly repeated: readonly (readonly Noted[])[];
}

/** Requests of one client. */
interface Session {
  readonly requests: Map<number, readonly Noted[]>;
  /** None up to this one is sent again. */
  answered: number;
}

/** The requests of one node and those that it has heard of. */
export class RequestTable {
  readonly #sessions = new Map<string, Session>();
  /** Those of operations that not every member has: by origin, in the order of their numbers. */
  readonly #noted = new Map<Origin, Noted[]>();
  /** By the name of each of its operations, the first dot first. */
  readonly #repeated = new Map<string, readonly Noted[]>();
  /** Operations of repeated requests that not all members have yet. */
  readonly #apart = new Set<string>();
  /** Whether every member has an operation. */
  #isStable: (dot: Dot) => boolean = () => false;

  /** @param seed what another table gave. */
  constructor({ noted, repeated }: SeedRequests) {
    for (const one of noted.toSorted(compareDots)) this.#note(one);
    for (const group of repeated) this.#group(group);
  }

  /** What another table begins with. */
  seed(): SeedRequests {
    return {
      noted: [...this.#sessions.values()].flatMap(({ requests }) => [...requests.values()].flat()),
      repeated: [...new Set(this.#repeated.values())],
    };
  }

  /** The operation that carried it out; undefined if none is known. */
  find({ session, number }: RequestName): Dot | undefined {
    const [first] = this.#sessions.get(session)?.requests.get(number) ?? [];
    return first === undefined ? undefined : dotOf(first);
  }

  /** Takes note of an operation that is taken in. */
  note({ origin, sequence, request, changes }: Operation): void {
    if (request === undefined) return;
    const documents = changes.map(({ collection, key }) => ({ collection, key }));
    const group = this.#note({ origin, sequence, request, documents });
    if (group.length > 1) this.#group(group);
  }

  /** The operations that carried out the same request, if there are several. */
  sameRequest(dot: Dot): readonly Dot[] | undefined {
    return this.#repeated.size === 0 ? undefined : this.#repeated.get(dotName(dot));
  }

  /** Whether what an operation added is counted by itself: another may have added the same. */
  isApart(dot: Dot): boolean {
    return this.#apart.size > 0 && this.#apart.has(dotName(dot));
  }

  /** A client is gone for good: it sends nothing again. */
  endSession(session: string): void {
    const known = this.#sessions.get(session);
    if (known === undefined) return;
    known.answered = Number.POSITIVE_INFINITY;
    this.#drop(session, known);
  }

  /**
   * Every member has these operations. Of requests that were carried out twice it is forgotten once
   * their documents are settled.
   */
  forget(isStable: (dot: Dot) => boolean, isSettled: (document: Name) => boolean): void {
    this.#isStable = isStable;
    const touched = new Set<string>();
    for (const [origin, noted] of this.#noted) {
      let count = 0;
      while (count < noted.length && isStable(noted[count]!)) count += 1;
      for (const one of noted.splice(0, count)) {
        this.#apart.delete(dotName(one));
        touched.add(one.request.session);
      }
      if (noted.length === 0) this.#noted.delete(origin);
    }
    for (const name of touched) {
      const session = this.#sessions.get(name);
      if (session !== undefined) this.#drop(name, session);
    }
    for (const [name, group] of this.#repeated) {
      const isOver = group.every(
        (one) => isStable(one) && one.documents.every((document) => isSettled(document)),
      );
      if (isOver) this.#repeated.delete(name);
    }
  }

  /** Drops what is answered and everywhere. */
  #drop(name: string, { requests, answered }: Session): void {
    for (const [number, noted] of requests) {
      const isOver = number <= answered && noted.every((one) => this.#isStable(one));
      if (isOver) requests.delete(number);
    }
    if (requests.size === 0) this.#sessions.delete(name);
  }

  /** Gives all operations of the same request, the first dot first. */
  #note(noted: Noted): readonly Noted[] {
    const { origin, request } = noted;
    const { session: name, number, answered, isRepeat } = request;
    let session = this.#sessions.get(name);
    if (session === undefined) {
      session = { requests: new Map(), answered };
      this.#sessions.set(name, session);
    }
    session.answered = Math.max(session.answered, answered);
    const before = session.requests.get(number) ?? [];
    if (before.some((other) => compareDots(other, noted) === 0)) return before;
    const list = this.#noted.get(origin);
    if (list === undefined) this.#noted.set(origin, [noted]);
    else list.push(noted);
    if (isRepeat) this.#apart.add(dotName(noted));
    const group = before.length === 0 ? [noted] : [...before, noted].sort(compareDots);
    session.requests.set(number, group);
    return group;
  }

  #group(noted: readonly Noted[]): void {
    const known = noted.flatMap((one) => this.#repeated.get(dotName(one)) ?? []);
    const all = new Map([...known, ...noted].map((one) => [dotName(one), one]));
    const group = [...all.values()].sort(compareDots);
    for (const one of group) this.#repeated.set(dotName(one), group);
  }
}

function dotOf({ origin, sequence }: Dot): Dot {
  return { origin, sequence };
}
