/**
 * The settings of collections as a database's handles know them, and what follows from them: ids,
 * and the results of validators. Settings are requested when something depends on them, and kept:
 * they do not change as long as the collection is there.
 *
 * @module
 */

import type { Validators } from "../../api/validator.ts";
import { CStoreError, UncheckedError, ValidationError, WrongModeError } from "../../base/errors.ts";
import { type Fields, fieldOf, isFields } from "../../base/value.ts";
import { encodeCbor } from "../../protocol/encoding/cbor.ts";
import {
  type CollectionSettings,
  PLAIN_SETTINGS,
} from "../../protocol/encoding/collection_settings.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import type { Client } from "../connection/client.ts";
import { changeCatalog, listCollections } from "./catalog_client.ts";
import { IdAllocator } from "./id_allocator.ts";
import { validated } from "./validator.ts";

/** A collection, and the field with its documents' ids. */
export interface RuledCollection {
  readonly name: string;
  readonly idField: string;
  /** The documents are there already: a validator must not give them other ids. */
  readonly keepsIds?: boolean;
}

/** A document as it is written. */
export interface PreparedDocument {
  readonly key: Uint8Array;
  readonly document: Uint8Array;
  readonly isChecked: boolean;
}

/** Where the rules get what they need. */
export interface RulesParts {
  client(): Client | Promise<Client>;
  newId(): string;
  readonly validators: Validators;
}

/** A look at what any node knows is a help only: it gets a part of the time. */
const LOOK_MS_MAX = 1000;
const LOOK_SHARE = 0.2;

/** The rules of one database. */
export class CollectionRules {
  readonly #parts: RulesParts;
  readonly #known = new Map<string, CollectionSettings>();
  /** Those that every node writes. */
  readonly #byAll = new Set<string>();
  readonly #ids: IdAllocator;

  constructor(parts: RulesParts) {
    this.#parts = parts;
    this.#ids = new IdAllocator(() => parts.client());
  }

  /** The collection is another one, or may be. */
  forget(name: string): void {
    this.#known.delete(name);
    this.#byAll.delete(name);
  }

  /** Settings as the cluster knows them. A collection that is not there yet has the usual ones. */
  async learn(name: string): Promise<CollectionSettings> {
    const [found] = await listCollections(await this.#parts.client(), name);
    this.#known.delete(name);
    if (found === undefined) return PLAIN_SETTINGS;
    const settings = found.settings ?? PLAIN_SETTINGS;
    this.#note(name, settings);
    return settings;
  }

  #note(name: string, settings: CollectionSettings): void {
    this.#known.set(name, settings);
    if (settings.mode === "MULTI_MASTER") this.#byAll.add(name);
  }

  /**
   * Whether a write of documents that no validator had seen was refused because there is one, which
   * is known now: nothing of it was done, and it can be done again.
   */
  async learnsValidator(name: string, error: unknown): Promise<boolean> {
    if (!(error instanceof UncheckedError)) return false;
    return this.#hasValidator(name) || (await this.learn(name)).validator !== "";
  }

  /** Whether every node writes the collection, as far as it is known. */
  isByAll(name: string): boolean {
    return this.#byAll.has(name);
  }

  /** Whether anything is known of the collection. */
  isLearned(name: string): boolean {
    return this.#known.has(name) || this.#byAll.has(name);
  }

  /** Asks any node for the collection's mode: it may be an older one, and others tell. */
  async look(name: string, ofMs = Number.POSITIVE_INFINITY): Promise<boolean> {
    const client = await this.#parts.client();
    const timeoutMs = Math.max(1, Math.min(LOOK_MS_MAX, ofMs * LOOK_SHARE));
    try {
      const [found] = await listCollections(client, name, { level: "stale", timeoutMs });
      if (found === undefined) return false;
      this.#note(name, found.settings ?? PLAIN_SETTINGS);
      return true;
    } catch (error) {
      if (!(error instanceof CStoreError)) throw error;
      return false;
    }
  }

  /** Makes a collection that is not there yet, by the settings of new ones. */
  async make(name: string): Promise<void> {
    await this.learn(name);
    if (this.isLearned(name)) return;
    const request = { action: "createCollection", collection: name } as const;
    await changeCatalog(await this.#parts.client(), request);
    await this.learn(name);
  }

  /**
   * Whether a call was refused because the collection has another mode than was thought, which is
   * known now: nothing of it was done, and it can be done again. A collection that is to come into
   * being, in a cluster whose collections are written by every node, is made.
   */
  async learnsMode(name: string, error: unknown): Promise<boolean> {
    if (!(error instanceof WrongModeError)) return false;
    if (error.fields.mode === "MASTER_SLAVE") return this.#byAll.delete(name);
    if (this.#byAll.has(name)) return false;
    if (!(await this.look(name))) {
      const request = { action: "createCollection", collection: name } as const;
      await changeCatalog(await this.#parts.client(), request);
    }
    this.#byAll.add(name);
    return true;
  }

  /** An id for a document without one. */
  async newId(name: string): Promise<DocumentId> {
    const { ids } = this.#known.get(name) ?? (await this.learn(name));
    const [number] = ids === "autoIncrement" ? await this.#ids.take(name, 1) : [];
    return number ?? this.#parts.newId();
  }

  /**
   * Runs `plain`; or `checked`, if the collection has a validator. That may show only when `plain`
   * is refused: then nothing of it was done.
   */
  async either<R>(name: string, plain: () => Promise<R>, checked: () => Promise<R>): Promise<R> {
    if (this.#hasValidator(name)) return checked();
    try {
      return await plain();
    } catch (error) {
      if (!(await this.learnsValidator(name, error))) throw error;
      return checked();
    }
  }

  #hasValidator(name: string): boolean {
    return (this.#known.get(name)?.validator ?? "") !== "";
  }

  /**
   * Documents with their ids, as the collection's validator gave them back; at once where no
   * request is needed. A collection of which nothing is known is taken for one without validator.
   * Throws, or rejects with, ValidationError, UncheckedError.
   */
  prepare(
    collection: RuledCollection,
    documents: readonly object[],
  ): readonly PreparedDocument[] | Promise<readonly PreparedDocument[]> {
    const { name, idField } = collection;
    let lacksIds = false;
    for (const document of documents) {
      if (!isFields(document)) {
        throw new ValidationError(`Cannot write into "${name}": a document is an object`);
      }
      lacksIds ||= isNothing(fieldOf(document, idField));
    }
    const given = documents as readonly Fields[];
    const known = this.#known.get(name);
    const { validator, ids } = known ?? { validator: "", ids: undefined };
    const mayMakeIds = !lacksIds || ids === "uuidv7";
    if (validator === "" && mayMakeIds) {
      return given.map((document) => {
        const id = fieldOf(document, idField) ?? this.#parts.newId();
        return encoded({ ...document, [idField]: id }, id as DocumentId, false);
      });
    }
    return this.#prepareLater(collection, given);
  }

  async #prepareLater(
    { name, idField, keepsIds }: RuledCollection,
    documents: readonly Fields[],
  ): Promise<readonly PreparedDocument[]> {
    const settings = this.#known.get(name) ?? (await this.learn(name));
    const lacking = documents.filter((document) => isNothing(fieldOf(document, idField))).length;
    const isNumbered = settings.ids === "autoIncrement" && lacking > 0;
    const numbers = isNumbered ? [...(await this.#ids.take(name, lacking))].reverse() : [];
    const whole = documents.map((document): Fields => {
      const id = fieldOf(document, idField) ?? numbers.pop() ?? this.#parts.newId();
      return { ...document, [idField]: id };
    });
    const checked = await this.#check(name, settings, whole);
    return checked.map((document, at) => {
      const before = fieldOf(whole[at] as Fields, idField);
      const id = fieldOf(document, idField) ?? before;
      if (keepsIds === true && id !== before) {
        throw new ValidationError(`Cannot update in "${name}": its validator changes the id`);
      }
      const isChecked = settings.validator !== "";
      return encoded({ ...document, [idField]: id }, id as DocumentId, isChecked);
    });
  }

  async #check(
    name: string,
    settings: CollectionSettings,
    documents: readonly Fields[],
  ): Promise<readonly Fields[]> {
    if (settings.validator === "") return documents;
    const { validators } = this.#parts;
    const validator = Object.hasOwn(validators, settings.validator)
      ? validators[settings.validator]
      : undefined;
    if (validator === undefined) {
      throw new UncheckedError(
        `Cannot write into "${name}": its validator "${settings.validator}" is not registered here`,
        { remedy: "Write with a program that gives it in the option `validators`" },
      );
    }
    return Promise.all(documents.map((document) => validated(validator, name, document)));
  }
}

function isNothing(value: unknown): boolean {
  return value === undefined || value === null;
}

function encoded(document: Fields, id: DocumentId, isChecked: boolean): PreparedDocument {
  return { key: encodeKey(id), document: encodeCbor(document).slice(), isChecked };
}
