/**
 * The state machine <-> the blocks of a snapshot. The first byte of a block says what it is:
 *
 * | type       | number | body                                                                  |
 * | ---------- | -----: | --------------------------------------------------------------------- |
 * | STATE      |      1 | CBOR map {index, term, nextSequence, timeMs, droppedAt, members, bindings, retired, departed}, {rules} above 1, and {agreement, newCollections} where they are not the first |
 * | SESSIONS   |      2 | a piece of the session table (`session_table.ts`); pieces are joined  |
 * | COLLECTION |      3 | name in UTF-8; the documents that follow belong to it                 |
 * | CATALOG    |      5 | of the collection before it: CBOR map {changedAt, indexes}, {settings, nextId} if it was made with settings, and {collectionId} if every node writes it: then no documents follow |
 * | MASTERS    |      6 | of a backup: a block of the state of collections that every node writes (`seed_codec.ts`) |
 * | DOCUMENTS  |      4 | for each: version (8), keySize (2), documentSize (4), key, document   |
 *
 * @module
 */

import { assert } from "../base/assert.ts";
import { ByteReader, ByteWriter, encodeText } from "../base/bytes.ts";
import { CorruptionError } from "../base/errors.ts";
import { SNAPSHOT_BLOCK_SIZE } from "../base/limits.ts";
import { FIRST_RULES, NEWEST_RULES, type RulesVersion } from "../base/rules_version.ts";
import type { Fields } from "../base/value.ts";
import { NO_AGREEMENT } from "../multi_master/operation/agreement_change.ts";
import type { IndexDefinition } from "../protocol/encoding/catalog_command.ts";
import { decodeUntrustedCbor, encodeCbor } from "../protocol/encoding/cbor.ts";
import {
  type CollectionSettings,
  PLAIN_SETTINGS,
  readSettings,
} from "../protocol/encoding/collection_settings.ts";
import {
  agreementFields,
  readAgreement,
  readNewCollections,
} from "../protocol/operations/agreement_codec.ts";
import type { StatePosition } from "../protocol/wire/reply.ts";
import type { CollectionStore } from "./collection/collection_store.ts";
import type { FrozenSlabs } from "./collection/document_slab.ts";
import type { DocumentStateMachine, RestoredCluster } from "./document_state_machine.ts";
import { type MastersState, NO_MASTERS } from "./masters.ts";
import type { MemberTableState } from "./member_table.ts";

const STATE = 1;
const SESSIONS = 2;
const COLLECTION = 3;
const DOCUMENTS = 4;
const CATALOG = 5;
const MASTERS = 6;
/** Small enough that making one block takes a few milliseconds. */
const BLOCK_GOAL = SNAPSHOT_BLOCK_SIZE / 4;
const TEXT_DECODER = new TextDecoder();

/** A state that was frozen and must be thawed. */
export interface FrozenState {
  readonly position: StatePosition;
  /** Makes the blocks one by one, while the state machine goes on. */
  blocks(): Generator<Uint8Array>;
  /** Lets compaction go on; also when the blocks were not all taken. */
  thaw(): void;
}

/** A block of a backup that holds one of the state of collections that every node writes. */
export function mastersBlock(block: Uint8Array): Uint8Array {
  return new ByteWriter(block.byteLength + 1).u8(MASTERS).raw(block).copy();
}

/** Freezes the state as it is now. */
export function freezeState(machine: DocumentStateMachine): FrozenState {
  const { position } = machine;
  const { index, term, nextSequence, timeMs } = position;
  const members = machine.memberTable.state();
  const { droppedAt, rules } = machine;
  const state = encodeCbor({
    ...{ index, term, nextSequence, timeMs, droppedAt, ...members },
    ...(rules > FIRST_RULES && { rules }),
    ...mastersFields(machine.masters),
  }).slice();
  const sessions = machine.sessions.encode();
  const frozen = [...machine.collections()].map((store) => {
    const catalog = encodeCbor(catalogOf(store)).slice();
    return { store, catalog, slabs: store.freeze(nextSequence - 1) };
  });
  return {
    position,
    *blocks() {
      yield new ByteWriter(state.byteLength + 1).u8(STATE).raw(state).copy();
      for (let at = 0; at < sessions.byteLength; at += BLOCK_GOAL) {
        const piece = sessions.subarray(at, at + BLOCK_GOAL);
        yield new ByteWriter(piece.byteLength + 1).u8(SESSIONS).raw(piece).copy();
      }
      for (const part of frozen) yield* collectionBlocks(part);
    },
    thaw() {
      for (const { store, slabs } of frozen) store.thaw(slabs);
    },
  };
}

/** What is agreed of collections that every node writes; empty where there are none. */
export function mastersFields({ agreement, newCollections }: MastersState): Fields {
  const { mode, conflict } = newCollections;
  return {
    ...(agreement.version > 0 && { agreement: agreementFields(agreement) }),
    ...(mode === "MULTI_MASTER" && { newCollections: { mode, conflict: { ...conflict } } }),
  };
}

/** State of a collection beside its documents. */
export interface CollectionCatalog {
  /** Sequence number of the last change. */
  readonly changedAt: number;
  readonly indexes: readonly { readonly definition: IndexDefinition; readonly isReady: boolean }[];
  /** Left out where they are as usual. */
  readonly settings?: CollectionSettings;
  readonly nextId?: number;
  /** Of a collection that every node writes. */
  readonly collectionId?: number;
}

/** The catalog of a collection as it is now. */
export function catalogOf(store: CollectionStore): CollectionCatalog {
  const indexes = [...store.indexes.all()].map(({ definition, isReady }) => {
    return { definition, isReady };
  });
  const { changedAt, settings, nextId, collectionId } = store;
  if (settings === PLAIN_SETTINGS) return { changedAt, indexes };
  if (collectionId === 0) return { changedAt, indexes, settings, nextId };
  // Each node counts its own changes of it.
  return { changedAt: 0, indexes, settings, nextId, collectionId };
}

function* collectionBlocks(part: {
  readonly store: CollectionStore;
  readonly catalog: Uint8Array;
  readonly slabs: FrozenSlabs;
}): Generator<Uint8Array> {
  const { store, catalog, slabs } = part;
  yield new ByteWriter(128).u8(COLLECTION).raw(encodeText(store.name)).copy();
  yield new ByteWriter(catalog.byteLength + 1).u8(CATALOG).raw(catalog).copy();
  // What this node shows of a collection that every node writes is made of its versions.
  if (store.collectionId > 0) return;
  const writer = new ByteWriter(4096);
  writer.u8(DOCUMENTS);
  for (const { key, document, version } of store.frozenRecords(slabs)) {
    writer.u64(version).u16(key.byteLength).u32(document.byteLength).raw(key).raw(document);
    if (writer.size < BLOCK_GOAL) continue;
    yield writer.copy();
    writer.rewind(1);
  }
  if (writer.size > 1) yield writer.copy();
}

/** Reads a snapshot's first block. Throws CorruptionError when that is not what it holds. */
export function readClusterState(block: Uint8Array): RestoredCluster {
  if (block[0] !== STATE) throw unknownBlock(block);
  const state = decodeUntrustedCbor(block.subarray(1)) as StatePosition &
    Omit<MemberTableState, "departed"> & {
      /** Snapshots of earlier versions have none. */
      readonly departed?: MemberTableState["departed"];
      readonly droppedAt: number;
      readonly rules?: RulesVersion;
      readonly agreement?: Fields;
      readonly newCollections?: Fields;
    };
  const { members, bindings, retired, departed = [], droppedAt, rules = FIRST_RULES } = state;
  const { agreement, newCollections: made } = state;
  const agreed = agreement === undefined ? NO_AGREEMENT : readAgreement(agreement);
  const { newCollections: usual } = NO_MASTERS;
  const newCollections = made === undefined ? usual : readNewCollections(made);
  const { index, term, nextSequence, timeMs } = state;
  return {
    position: { index, term, nextSequence, timeMs },
    members: { members, bindings, retired, departed },
    ...{ droppedAt, rules },
    masters: { agreement: agreed, newCollections },
  };
}

function unknownBlock(block: Uint8Array): CorruptionError {
  return new CorruptionError(`Cannot restore: block type ${block[0]} is unknown here`, {
    file: "snapshot",
    byte: 0,
  });
}

/** Fills a state machine from the blocks of a verified snapshot. */
export class StateRestorer {
  readonly #machine: DocumentStateMachine;
  #sessions = new ByteWriter(1024);
  #store: CollectionStore | undefined;
  /** Blocks of the state of collections that every node writes, in their order. */
  readonly masters: Uint8Array[] = [];
  /** `changedAt` of the collection that is being restored. */
  #changedAt = 0;

  constructor(machine: DocumentStateMachine) {
    this.#machine = machine;
  }

  block(block: Uint8Array): void {
    const body = block.subarray(1);
    switch (block[0]) {
      case STATE: {
        this.#machine.beginRestore(readClusterState(block));
        return;
      }
      case SESSIONS:
        this.#sessions.raw(body);
        return;
      case COLLECTION:
        this.#endCollection();
        this.#store = this.#machine.restoreCollection(TEXT_DECODER.decode(body));
        return;
      case CATALOG:
        this.#catalog(body);
        return;
      case DOCUMENTS:
        this.#documents(body);
        return;
      case MASTERS:
        this.masters.push(body.slice());
        return;
      default:
        throw unknownBlock(block);
    }
  }

  /** Called after the last block. */
  end(): void {
    this.#endCollection();
    this.#machine.sessions.restore(this.#sessions.written());
  }

  #catalog(body: Uint8Array): void {
    const store = this.#store;
    assert(store !== undefined, "a catalog follows its collection");
    const catalog = decodeUntrustedCbor(body) as CollectionCatalog;
    const { changedAt, indexes, settings, nextId = 0, collectionId = 0 } = catalog;
    this.#changedAt = changedAt;
    store.settings = readSettings(settings, NEWEST_RULES);
    store.nextId = nextId;
    store.collectionId = collectionId;
    for (const { definition, isReady } of indexes) store.indexes.restore(definition, isReady);
  }

  #endCollection(): void {
    if (this.#store !== undefined) this.#store.changedAt = this.#changedAt;
  }

  #documents(body: Uint8Array): void {
    const store = this.#store;
    assert(store !== undefined, "documents follow their collection");
    const reader = new ByteReader(body);
    while (reader.remaining > 0) {
      const version = reader.u64();
      const keySize = reader.u16();
      const documentSize = reader.u32();
      const start = reader.offset;
      reader.take(keySize + documentSize);
      const keyEnd = start + keySize;
      const hash = store.hash(body, { start, end: keyEnd });
      const source = { bytes: body, start, keyEnd, end: keyEnd + documentSize };
      store.put({ hash, before: -1 }, source, version);
    }
  }
}
