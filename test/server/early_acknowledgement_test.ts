import { expect, test } from "bun:test";
import { ByteWriter, encodeText, viewOf } from "../../src/base/bytes.ts";
import { DeadlineError, ValidationError } from "../../src/base/errors.ts";
import { SessionTable } from "../../src/database/session_table.ts";
import { encodeCbor } from "../../src/protocol/encoding/cbor.ts";
import {
  type DocumentOperation,
  NO_SESSION,
  type RequestIdentity,
  writeDocumentsCommand,
} from "../../src/protocol/encoding/command.ts";
import { encodeKey } from "../../src/protocol/encoding/document_key.ts";
import type { ReplyTarget } from "../../src/replication/raft/open_batch.ts";
import { EarlyAcknowledgement, type EarlyParts } from "../../src/server/early_acknowledgement.ts";

const NOBODY: ReplyTarget = {
  written: () => undefined,
  result: () => undefined,
  failed: () => undefined,
};

class Subject {
  term = 3;
  applied = 3;
  takes = true;
  lastOwnProposal = 0;
  wallMs = 10_000;
  readonly sessions = new SessionTable();
  readonly answers: EarlyAcknowledgement;

  constructor(syncMode: "SYNC" | "ASYNC" = "ASYNC") {
    this.sessions.open(7, 10_000);
    const machine = {
      position: { index: 1, nextSequence: 1, timeMs: 0, term: 3 },
      appliedIndex: 1,
      sessions: this.sessions,
      timeAt: (wallMs: number) => wallMs,
      takesAnything: (name: Uint8Array) => new TextDecoder().decode(name) === "c" && this.takes,
    };
    Object.defineProperty(machine.position, "term", { get: () => this.applied });
    this.answers = new EarlyAcknowledgement({
      machine: machine as unknown as EarlyParts["machine"],
      syncMode,
      clock: { wallMs: () => this.wallMs } as unknown as EarlyParts["clock"],
      sessionTimeoutMs: 1000,
      term: () => this.term,
      lastOwnProposal: () => this.lastOwnProposal,
    });
  }

  /** A request of session 7, if it has a number. */
  asked(requestNumber: number): boolean {
    return this.may({}, "c", { sessionId: 7, requestNumber, acknowledgedBelow: 1 });
  }

  may(
    change: Partial<DocumentOperation> = {},
    collection = "c",
    identity: RequestIdentity = NO_SESSION,
  ): boolean {
    const operation = { kind: "PUT", key: encodeKey("a"), document: encodeCbor({}), ...change };
    const writer = new ByteWriter(256);
    const operations = [operation as DocumentOperation];
    writeDocumentsCommand(writer, identity, { collection: encodeText(collection), operations });
    const bytes = writer.copy();
    return this.answers.mayAnswer(bytes, viewOf(bytes), 0);
  }
}

test("early: plain puts of ASYNC into collections that take anything, and nothing else", () => {
  const subject = new Subject();
  expect(subject.may()).toBe(true);
  expect(subject.may({ kind: "INSERT" })).toBe(false);
  expect(subject.may({ kind: "REMOVE", document: new Uint8Array(0) })).toBe(false);
  expect(subject.may({ ifVersion: 0 })).toBe(false);
  expect(subject.may({ returnDocument: true })).toBe(false);
  expect(subject.may({}, "unknown")).toBe(false);
  subject.takes = false;
  expect(subject.may()).toBe(false);
  expect(new Subject("SYNC").may()).toBe(false);
});

test("early: not before an entry of the own term is applied", () => {
  const subject = new Subject();
  subject.applied = 2;
  expect(subject.may()).toBe(false);
  subject.applied = 3;
  expect(subject.may()).toBe(true);
});

test("early: not while a change of the catalog is under way, or may still be in the log", () => {
  const subject = new Subject();
  const [first, second] = [subject.answers.watched(NOBODY), subject.answers.watched(NOBODY)];
  expect(subject.may()).toBe(false);
  first.result(1, new Uint8Array(0));
  expect(subject.may()).toBe(false);
  second.failed(2, new ValidationError("refused"));
  expect(subject.may()).toBe(true);
  const unknown = subject.answers.watched(NOBODY);
  unknown.failed(3, new DeadlineError("late"));
  expect(subject.may()).toBe(false);
  subject.term = 4;
  expect(subject.may()).toBe(false);
  subject.applied = 4;
  expect(subject.may()).toBe(true);
  const next = subject.answers.watched(NOBODY);
  // Of a term that is over.
  unknown.result(3, new Uint8Array(0));
  expect(subject.may()).toBe(false);
  next.result(4, new Uint8Array(0));
  expect(subject.may()).toBe(true);
});

test("early: only what the session will take, whenever that is", () => {
  const subject = new Subject();
  expect(subject.asked(1)).toBe(true);
  expect(subject.asked(0)).toBe(false);
  expect(subject.asked(4096)).toBe(true);
  expect(subject.asked(4097)).toBe(false);
  const large = { sessionId: 7, requestNumber: 2, acknowledgedBelow: 1, checksum: 1 };
  subject.sessions.store(large, { kind: "payload", payload: new Uint8Array(5 * 1024 * 1024) });
  // Results that wait to be acknowledged take room; that of a put takes none.
  expect(subject.sessions.admit({ ...large, requestNumber: 3 }).verdict).toBe("window full");
  expect(subject.asked(3)).toBe(true);
  expect(subject.asked(2)).toBe(false);
  subject.lastOwnProposal = 2;
  expect(subject.asked(1)).toBe(false);
  subject.lastOwnProposal = 1;
  subject.wallMs = 10_600;
  expect(subject.asked(1)).toBe(false);
  subject.wallMs = 10_400;
  expect(subject.asked(1)).toBe(true);
  subject.sessions.close(7);
  expect(subject.asked(1)).toBe(false);
});
