/**
 * Writes of collections that every node writes: this node carries them out at once, whoever leads.
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { ByteWriter, viewOf } from "../base/bytes.ts";
import {
  CStoreError,
  NotConfirmedError,
  OverloadedError,
  UnknownOutcomeError,
  ValidationError,
  WrongModeError,
  withoutStack,
} from "../base/errors.ts";
import { RESULT_SIZE_MAX } from "../base/limits.ts";
import { RETRY_AFTER_MS } from "../base/timing.ts";
import type { CollectionStore } from "../database/collection/collection_store.ts";
import type { DocumentStateMachine } from "../database/document_state_machine.ts";
import { type Effect, type Made, MastersExecutor } from "../database/masters_executor.ts";
import { wrongMode } from "../database/refusals.ts";
import { versionOfStamp } from "../multi_master/operation/hybrid_clock.ts";
import type { RequestName } from "../multi_master/operation/operation.ts";
import type { WriteRequest } from "../multi_master/requests.ts";
import type { Clock } from "../platform/clock.ts";
import {
  COMMAND_HEADER_SIZE,
  COMMAND_KINDS,
  checkClientCommand,
  OperationCursor,
  readCommandHeader,
} from "../protocol/encoding/command.ts";
import { writeOperationResult } from "../protocol/encoding/operation_result.ts";
import type { Acknowledgement } from "../protocol/wire/client_message.ts";
import type { ConflictsReply } from "../protocol/wire/reply.ts";
import type { Request } from "../protocol/wire/request.ts";
import type { WriteOutcome, WriteWait } from "../replication/multi_master/multi_master_driver.ts";
import type { Replies } from "./query_reply.ts";
import type { CheckedCommand } from "./state_check.ts";

const TEXT = new TextDecoder("utf-8", { ignoreBOM: true });
/** A write that too few nodes confirm is answered so long before its deadline, or a tenth of it. */
const LATE_MARGIN_MS = 100;

type WriteCall = Extract<Request, { readonly kind: "WRITE" }>;

/** The node's part in collections that every node writes. */
export interface MastersBackend {
  /** A document as this node's versions resolve. */
  read(collection: number, key: Uint8Array): Uint8Array | undefined;
  /** The version of such a document, as readers see it. */
  version(collection: number, key: Uint8Array): number;
  /** Whether a request was carried out, as far as this node knows. */
  isKnown(request: RequestName): boolean;
  write(request: WriteRequest, wait: WriteWait): Promise<WriteOutcome>;
  /** Documents in conflict: of a collection, or one of it. */
  conflicts(
    collection: number,
    which: { readonly key: Uint8Array | undefined; readonly limit: number },
  ): ConflictsReply;
  /** This node's state, once all of it is on its disk. */
  state(): Promise<FrozenMasters>;
}

/** A state that was frozen and must be released. */
export interface FrozenMasters {
  /** Makes the blocks one by one, while writes go on. */
  blocks(): Generator<Uint8Array>;
  release(): void;
}

/** What it needs of the node. */
export interface MastersServiceParts {
  readonly clock: Clock;
  readonly machine: DocumentStateMachine;
  /** Whose disks a write waits for, unless it says so. */
  readonly ack: Acknowledgement;
  masters(): MastersBackend | undefined;
  mastersRefusal(): CStoreError | undefined;
  /** Undefined on a leader that knows all that was acknowledged. */
  refuseRead(level: "leader"): CStoreError | undefined;
}

/** Where the answer goes, and by when. */
export interface WriteReply {
  /** On the monotonic clock. */
  readonly deadlineMs: number;
  readonly replies: Replies;
}

interface Section {
  readonly store: CollectionStore;
  readonly cursor: OperationCursor;
}

/** Carries out such writes. */
export class MastersService {
  readonly #parts: MastersServiceParts;

  constructor(parts: MastersServiceParts) {
    this.#parts = parts;
  }

  /** Why a command is not for the log of consensus: every node writes its collection. */
  refusal(command: CheckedCommand): CStoreError | undefined {
    const { machine } = this.#parts;
    const { agreement, newCollections } = machine.masters;
    const isUsual = newCollections.mode === "MASTER_SLAVE";
    if (agreement.collections.size === 0 && isUsual) return undefined;
    if (!writesDocuments(command.view, command.start)) return undefined;
    const wrong = this.#sections(command).find(({ store }) => machine.isWrittenByAll(store));
    return wrong && wrongMode(wrong.store);
  }

  /** Carries out a WRITE and answers it. */
  write(
    { body, view }: { readonly body: Uint8Array; readonly view: DataView },
    request: WriteCall,
    reply: WriteReply,
  ): void {
    const { requestId, start, end } = request;
    const { replies } = reply;
    const fail = (error: CStoreError): void => replies.failed(requestId, error);
    const isOfDocuments = start + COMMAND_HEADER_SIZE <= end && writesDocuments(view, start);
    const reason = isOfDocuments
      ? checkClientCommand(body, view, { start, end })
      : "only documents are written on any node";
    if (reason !== "") return fail(new ValidationError(`Cannot execute the request: ${reason}`));
    try {
      this.#execute({ body, view, start, end }, request, reply);
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      const isDecided = error.retry === "never" && !(error instanceof UnknownOutcomeError);
      const isInDoubt = request.isRepeat && isDecided;
      fail(isInDoubt ? inDoubt(error) : error);
    }
  }

  #execute(command: CheckedCommand, request: WriteCall, reply: WriteReply): void {
    const masters = this.#usable();
    // The frame's bytes are gone when the write is on the disk.
    const bytes = command.body.slice(command.start, command.end);
    const kept = { body: bytes, view: viewOf(bytes), start: 0, end: bytes.byteLength };
    const sections = this.#sections(kept);
    const other = sections.find(({ store }) => store.collectionId === 0);
    if (other !== undefined) throw this.#notWrittenByAll(other.store.name);
    const name = nameOf(kept, request.isRepeat);
    const isKnown = name !== undefined && masters.isKnown(name);
    const asked = { sections, bytes, isConditional: request.isConditional };
    const { effects, documents } = isKnown
      ? this.#known(asked, masters)
      : this.#made(asked, masters);
    const version = (): number => {
      const [first] = documents;
      return first === undefined ? 0 : masters.version(first.collection, first.key);
    };
    const answer = { request, replies: reply.replies, effects, version };
    if (documents.length === 0) {
      if (request.isRepeat) throw inDoubt();
      return giveResults(answer, 0);
    }
    const leftMs = reply.deadlineMs - this.#parts.clock.nowMs();
    const timeoutMs = Math.max(1, leftMs - Math.min(LATE_MARGIN_MS, leftMs / 10));
    const ack = request.ack ?? this.#parts.ack;
    const wanted = { documents, ...(name !== undefined && { request: name }) };
    masters.write(wanted, { ack, timeoutMs }).then(
      (outcome) => this.#onOutcome(outcome, answer),
      (error: unknown) => {
        if (!(error instanceof CStoreError)) throw error;
        reply.replies.failed(request.requestId, error);
      },
    );
  }

  /** Only a leader knows for sure that there is no such collection. */
  #notWrittenByAll(name: string): CStoreError {
    const isThere = [...this.#parts.machine.collections()].some((store) => store.name === name);
    if (isThere || this.#parts.refuseRead("leader") === undefined) return notWrittenByAll(name);
    const message = `Cannot write "${name}": this node does not know the collection yet`;
    return withoutStack(() => new OverloadedError(message, RETRY_AFTER_MS.masters));
  }

  #made({ sections, bytes, isConditional }: Asked, masters: MastersBackend): Executed {
    const { clock, machine } = this.#parts;
    const executor = new MastersExecutor({
      read: (collection, key) => masters.read(collection, key),
      version: (collection, key) => masters.version(collection, key),
      isConditional,
      nowMs: Math.floor(clock.wallMs()),
      rules: machine.rules,
    });
    for (const { store, cursor } of sections) executor.run(store, cursor, bytes);
    return { effects: executor.effects, documents: executor.made };
  }

  /**
   * Of a request that was carried out nothing is decided anew: an insert would meet itself. Throws
   * UnknownOutcomeError where what it gave back cannot be told any more.
   */
  #known({ sections, bytes }: Asked, masters: MastersBackend): Executed {
    const documents: Made[] = [];
    const effects: Effect[] = [];
    let [isSure, returnedBytes] = [true, 0];
    for (const { store, cursor } of sections) {
      const collection = store.collectionId;
      while (cursor.next()) {
        const key = bytes.subarray(cursor.keyStart, cursor.keyEnd);
        const document = cursor.returnsDocument ? masters.read(collection, key) : undefined;
        const isGone = cursor.returnsDocument && document === undefined;
        if (isGone || (cursor.returnsDocument && cursor.kind === "REMOVE")) throw resultForgotten();
        isSure &&= cursor.kind === "INSERT" || cursor.kind === "PUT";
        returnedBytes += document?.byteLength ?? 0;
        effects.push({ found: true, document });
        if (documents.length === 0) documents.push({ collection, key, body: undefined });
      }
    }
    // A single operation had an effect, or there was nothing to carry out.
    const isTold = isSure || effects.length === 1;
    if (!isTold || returnedBytes > RESULT_SIZE_MAX) throw resultForgotten();
    return { effects, documents };
  }

  #onOutcome(outcome: WriteOutcome, answer: Answer): void {
    const { result, acknowledgements, wanted, members } = outcome;
    const { request, replies } = answer;
    if (result.kind === "refused") {
      const message = "Cannot write: this node does not know the collection yet";
      const error = new OverloadedError(message, RETRY_AFTER_MS.masters);
      return replies.failed(request.requestId, error);
    }
    if (acknowledgements < wanted) {
      const error = new NotConfirmedError(
        `The write is on ${acknowledgements} of ${members} nodes, ${wanted} were asked for`,
        { acknowledgements, of: members },
      );
      return replies.failed(request.requestId, error);
    }
    const isKnown = result.kind === "known";
    giveResults(answer, isKnown ? answer.version() : versionOfStamp(result.operation.stamp));
  }

  #usable(): MastersBackend {
    const refusal = this.#parts.mastersRefusal();
    if (refusal !== undefined) throw refusal;
    const masters = this.#parts.masters();
    assert(masters !== undefined, "a node that takes writes takes part");
    return masters;
  }

  /** The parts of a checked command, each with its collection. */
  #sections({ body, view, start, end }: CheckedCommand): readonly Section[] {
    const kind = COMMAND_KINDS[view.getUint8(start + 4)];
    const from = start + COMMAND_HEADER_SIZE;
    const places: [number, number][] = [];
    if (kind === "DOCUMENTS") places.push([from, end]);
    else {
      // The conditions stand before the parts.
      for (let at = from + 4 + view.getUint32(from, true); at < end; ) {
        const next = at + 4 + view.getUint32(at, true);
        places.push([at + 4, next]);
        at = next;
      }
    }
    return places.map(([at, partEnd]) => {
      const cursor = new OperationCursor();
      cursor.startAt(view, at, partEnd);
      const name = TEXT.decode(body.subarray(cursor.nameStart, cursor.nameEnd));
      return { cursor, store: this.#parts.machine.collectionOrEmpty(name) };
    });
  }
}

function writesDocuments(view: DataView, start: number): boolean {
  const kind = COMMAND_KINDS[view.getUint8(start + 4)];
  return kind === "DOCUMENTS" || kind === "TRANSACTION";
}

interface Asked {
  readonly sections: readonly Section[];
  readonly bytes: Uint8Array;
  readonly isConditional: boolean;
}

interface Executed {
  readonly effects: readonly Effect[];
  readonly documents: readonly Made[];
}

interface Answer {
  readonly request: WriteCall;
  readonly replies: Replies;
  readonly effects: readonly Effect[];
  /** The version of the document that the request names first. */
  version(): number;
}

function giveResults({ request, replies, effects }: Answer, version: number): void {
  const payload = new ByteWriter(64);
  for (const { found, document } of effects) {
    writeOperationResult(payload, { found, version: found ? version : 0, document });
  }
  replies.result(request.requestId, payload.written());
}

/** The request that a command makes in its session; undefined without one. */
function nameOf({ view, start }: CheckedCommand, isRepeat: boolean): RequestName | undefined {
  const { sessionId, requestNumber, acknowledgedBelow } = readCommandHeader(view, start);
  if (sessionId === 0) return undefined;
  const answered = Math.max(0, acknowledgedBelow - 1);
  return { session: String(sessionId), number: requestNumber, answered, isRepeat };
}

/**
 * What a repeat would do here says nothing of the node that it was sent to before: that one may
 * have carried it out, and this one will hear of it.
 */
function inDoubt(cause?: CStoreError): CStoreError {
  const message = "Cannot tell what became of the write: another node may have carried it out";
  return withoutStack(() => new UnknownOutcomeError(message, { cause }));
}

function resultForgotten(): CStoreError {
  const message = "The write was carried out; what it gave back is not known any more";
  return withoutStack(() => new UnknownOutcomeError(message));
}

function notWrittenByAll(collection: string): CStoreError {
  const message = `Cannot write "${collection}" on any node: the leader alone writes it, or this node does not know it`;
  return withoutStack(
    () => new WrongModeError(message, { fields: { collection, mode: "MASTER_SLAVE" } }),
  );
}
