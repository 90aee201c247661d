/**
 * Random histories: two machines agree on every result and byte, and with a naive model.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { DocumentStateMachine } from "../../src/database/document_state_machine.ts";
import { zlibCompressor } from "../../src/platform/compression.ts";
import type { SeededRandom } from "../../src/platform/random.ts";
import type { RequestIdentity } from "../../src/protocol/encoding/command.ts";
import { fuzzRandom, rounds, seeded } from "../protocol/fuzz_seed.ts";
import {
  applyEntry,
  type Command,
  Machine,
  type Operation,
  type Outcome,
  type Result,
  request,
} from "./machine.ts";

interface Document {
  readonly version: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What requests mean, without bytes, slabs or undo. */
class Model {
  documents = new Map<string, Document>();
  nextSequence = 1;

  run(operations: readonly Operation[]): Result {
    const trial = new Map(this.documents);
    const outcomes: Outcome[] = [];
    const first = this.nextSequence;
    this.nextSequence += operations.length;
    for (const [i, operation] of operations.entries()) {
      const outcome = runOne(trial, operation, first + i);
      if ("error" in outcome) return outcome;
      outcomes.push(outcome);
    }
    this.documents = trial;
    const [only] = outcomes;
    const isPlain = outcomes.length === 1 && only?.found && !("document" in only);
    return isPlain ? { written: only.version } : { outcomes };
  }
}

function runOne(
  documents: Map<string, Document>,
  operation: Operation,
  version: number,
): Outcome | { readonly error: string; readonly actualVersion?: number } {
  const [kind, id, given, options] = operation;
  const key = JSON.stringify(id);
  const before = documents.get(key);
  const actualVersion = before?.version ?? 0;
  if (options?.ifVersion !== undefined && options.ifVersion !== actualVersion) {
    return { error: "VERSION_CONFLICT", actualVersion };
  }
  if (kind === "INSERT" && before !== undefined) return { error: "DUPLICATE_KEY" };
  if ((kind === "MERGE" || kind === "REMOVE") && before === undefined) {
    return { found: false, version };
  }
  const change = given as Document["fields"];
  const fields = kind === "MERGE" ? { ...before?.fields, ...change } : change;
  if (kind === "REMOVE") documents.delete(key);
  else documents.set(key, { version, fields });
  const document = kind === "REMOVE" ? before?.fields : fields;
  return options?.back ? { found: true, version, document } : { found: true, version };
}

const KINDS = ["INSERT", "PUT", "PUT", "MERGE", "REMOVE"] as const;

function randomOperation(random: SeededRandom, model: Model): Operation {
  const id = random.chance(0.5) ? random.below(12) : `${random.below(12)}`;
  const text = "x".repeat([1, 20, 3_000][random.below(3)]!);
  const fields = { [`f${random.below(3)}`]: random.below(100), [`t${random.below(2)}`]: text };
  const known = model.documents.get(JSON.stringify(id))?.version ?? 0;
  const ifVersion = random.chance(0.8) ? known : random.below(50);
  const condition = random.chance(0.25) ? { ifVersion } : {};
  const back = random.chance(0.2) ? { back: true } : {};
  const kind = KINDS[random.below(KINDS.length)]!;
  return [kind, id, kind === "REMOVE" ? undefined : fields, { ...condition, ...back }];
}

function randomOperations(random: SeededRandom, model: Model): Operation[] {
  const count = random.chance(0.6) ? 1 : 1 + random.below(6);
  return Array.from({ length: count }, () => randomOperation(random, model));
}

// Mutations that this finds: half of a refused request applied, a version off by one, an index that
// is not taken back, a result that depends on the seed.
test(
  seeded("histories: the machine gives what the model gives, whatever its seed and codec"),
  () => {
    const random = fuzzRandom();
    for (let run = 0; run < rounds(12); run += 1) {
      const machine = new Machine(random.u32());
      machine.codec = (["none", "zstd", "deflate-raw"] as const)[run % 3]!;
      const other = new DocumentStateMachine(zlibCompressor, random.u32());
      const model = new Model();
      for (let batch = 0; batch < 150; batch += 1) {
        const requests: Operation[][] = [];
        const expected: Result[] = [];
        for (let left = 1 + random.below(5); left > 0; left -= 1) {
          const operations = randomOperations(random, model);
          requests.push(operations);
          expected.push(model.run(operations));
        }
        const results = machine.apply(...requests.map((operations) => request(operations)));
        expect(results).toEqual(expected);
        expect(applyEntry(other, machine.entries.at(-1)!)).toEqual(results);
      }
      expect(machine.state.documentCount).toBe(model.documents.size);
      for (const [key, { version, fields }] of model.documents) {
        expect(machine.read(JSON.parse(key))).toEqual({ found: true, version, document: fields });
      }
    }
  },
);

interface Asked {
  readonly identity: RequestIdentity;
  readonly operations: readonly Operation[];
}

/** A client with several requests in flight, which repeats what it likes. */
class Client {
  readonly id: number;
  #next = 1;
  #below = 1;
  readonly #random: SeededRandom;
  readonly #sent = new Map<number, readonly Operation[]>();
  /** What the log must answer: every number above `#acknowledged`, with its result. */
  #acknowledged = 1;
  readonly #results = new Map<number, { readonly text: string; readonly result: Result }>();

  constructor(id: number, random: SeededRandom) {
    this.id = id;
    this.#random = random;
  }

  ask(model: Model): Asked {
    const random = this.#random;
    if (random.chance(0.15)) this.#below = Math.min(this.#next, this.#below + random.below(5));
    const isRepeat = random.chance(0.3);
    const skip = random.chance(0.1) ? random.below(20) : 0;
    const requestNumber = isRepeat ? 1 + random.below(this.#next) : this.#next + skip;
    const operations = this.#sent.get(requestNumber) ?? randomOperations(random, model);
    if (random.chance(0.95)) this.#sent.set(requestNumber, operations);
    this.#next = Math.max(this.#next, requestNumber + 1);
    const identity = { sessionId: this.id, requestNumber, acknowledgedBelow: this.#below };
    return { identity, operations };
  }

  /** The result that the request must have, which is executed in the model if it is new. */
  expected({ identity, operations }: Asked, model: Model): Result {
    this.#acknowledged = Math.max(this.#acknowledged, identity.acknowledgedBelow);
    const { requestNumber } = identity;
    const text = JSON.stringify(operations);
    const known = this.#results.get(requestNumber);
    const isOld = requestNumber < this.#acknowledged;
    if (isOld || known !== undefined) model.nextSequence += operations.length;
    if (isOld || (known !== undefined && known.text !== text)) {
      return { error: "DUPLICATE_REQUEST" };
    }
    if (known !== undefined) return known.result;
    const result = model.run(operations);
    this.#results.set(requestNumber, { text, result });
    return result;
  }
}

// Mutation that this finds: session bytes that depend on what a slot held before.
test(seeded("histories: sessions as in the model, also on a node that restored them"), () => {
  const random = fuzzRandom();
  for (let run = 0; run < rounds(6); run += 1) {
    const machine = new Machine(random.u32());
    const other = new DocumentStateMachine(zlibCompressor, random.u32());
    const clients = [1, 2, 3].map(() => new Client(machine.openSession(), random));
    for (const entry of machine.entries) applyEntry(other, entry);
    const kinds = new Set<string>();
    const model = new Model();
    model.nextSequence = machine.nextSequence;
    for (let batch = 0; batch < 200; batch += 1) {
      const commands: Command[] = [];
      const expected: Result[] = [];
      for (let left = 1 + random.below(4); left > 0; left -= 1) {
        const client = clients[random.below(clients.length)]!;
        const asked = client.ask(model);
        commands.push(request(asked.operations, { identity: asked.identity }));
        expected.push(client.expected(asked, model));
      }
      const results = machine.apply(...commands);
      expect(results).toEqual(expected);
      expect(applyEntry(other, machine.entries.at(-1)!)).toEqual(results);
      for (const result of results) kinds.add("error" in result ? result.error : "ok");
      const bytes = machine.state.sessions.encode();
      expect(other.sessions.encode()).toEqual(bytes);
      if (batch % 20 === 0) other.sessions.restore(bytes);
    }
    // A history in which nothing is refused or repeated proves little.
    for (const kind of ["ok", "DUPLICATE_KEY", "DUPLICATE_REQUEST"]) expect(kinds).toContain(kind);
  }
});
