/**
 * Answers one query over one moment of a collection, in slices: writes go on between them, and do
 * not show. The caller gives others a turn at each `undefined`.
 *
 * @module
 */

import type { Collation } from "../../base/collation.ts";
import { QueryError } from "../../base/errors.ts";
import { SORTED_DOCUMENTS_MAX } from "../../base/limits.ts";
import { compareValues, type Fields, type Value } from "../../base/value.ts";
import { decodeCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import { type DocumentId, encodeKey } from "../../protocol/encoding/document_key.ts";
import { compileFilter, type Filter, type Matcher } from "../../query/matcher.ts";
import { valueAt } from "../../query/path.ts";
import {
  compileProjection,
  type ProjectionSpec,
  type SortPart,
  type SortSpec,
  sortedAs,
  sortParts,
} from "../../query/sort.ts";
import type { IndexTree } from "./collection_index.ts";
import type { CollectionStore } from "./collection_store.ts";
import type { FrozenSlabs, Location } from "./document_slab.ts";
import { expiryAt } from "./expiry_rule.ts";
import { type KeyRange, planQuery, type QueryPlan } from "./query_plan.ts";

/** Work of one slice, a few milliseconds: a document counts once, and again for each KiB. */
const SLICE_WORK = 1000;
/** Documents that are sorted at once; longer lists are merged from such. */
const SORT_RUN = 2048;

/** A query. */
export interface QuerySpec {
  readonly filter: Filter;
  readonly sort?: SortSpec;
  readonly skip?: number;
  /** Documents at most; 0 or none: all. */
  readonly limit?: number;
  readonly projection?: ProjectionSpec;
  readonly idField?: string;
  /** Name of the index to use. */
  readonly hint?: string;
  /** Values at the paths of `sort`: only documents that come behind them. */
  readonly after?: readonly Value[];
  /** How texts are sorted; by UTF-16 code units without. */
  readonly collation?: Collation;
  /** In ms since 1970: documents that have expired then do not show. */
  readonly nowMs?: number;
}

/** A document that was found. */
export interface Found {
  readonly version: number;
  /** Encoded: a view, valid until the next step. */
  readonly document: Uint8Array;
}

/** A document that was found by {@link QueryRun.now}, decoded and private. */
export interface FoundNow {
  readonly version: number;
  readonly document: Fields;
}

/** A plan as a person reads it. */
export interface Explanation {
  readonly plan: "ids" | "index" | "scan";
  /** Name of the index; an empty text for none. */
  readonly index: string;
  readonly ranges: number;
  /** Whether found documents must be put in order. */
  readonly sorts: boolean;
}

interface SortEntry {
  readonly keys: readonly Value[];
  readonly location: Location;
}

/** One query on its way. It holds its moment until {@link end}. */
export class QueryRun {
  readonly #store: CollectionStore;
  readonly #frozen: FrozenSlabs | undefined;
  readonly #tree: IndexTree | undefined;
  readonly #cost = { steps: 0 };
  readonly #matches: Matcher;
  readonly #parts: readonly SortPart[];
  readonly #project: ((document: Fields) => Fields) | undefined;
  readonly #spec: QuerySpec;
  readonly #plan: QueryPlan;
  /** Documents by id, found when the query began. */
  readonly #direct: readonly Location[];
  /** The document that {@link #matching} decoded last. */
  #matched: Fields = {};
  /** Since the last slice ended. */
  #work = 0;
  #isEnded = false;

  /**
   * Throws QueryError. `sequence`: the last operation that shows; "now": nothing is written before
   * the query is answered, and {@link now} answers it.
   */
  constructor(store: CollectionStore, spec: QuerySpec, sequence: number | "now") {
    this.#store = store;
    this.#spec = spec;
    const matches = compileFilter(spec.filter, this.#cost);
    const isOver = spec.nowMs === undefined ? undefined : expiryAt(store.indexes, spec.nowMs);
    const { idField = "id", hint = "", filter, projection, collation } = spec;
    this.#parts = sortParts(spec.sort ?? {}, { collation, idField });
    const isBehind = this.#behind(spec.after);
    this.#matches =
      isOver === undefined && isBehind === undefined
        ? matches
        : (document) =>
            matches(document) && isOver?.(document) !== true && isBehind?.(document) !== false;
    const isWhole = projection === undefined || Object.keys(projection).length === 0;
    this.#project = isWhole ? undefined : compileProjection(projection, idField);
    const request = { filter, sort: this.#parts, idField, hint };
    this.#plan = planQuery(request, store.indexes.all());
    const plan = this.#plan;
    const isNow = sequence === "now";
    this.#tree =
      plan.kind !== "index" ? undefined : isNow ? plan.index.tree : plan.index.snapshot();
    this.#direct = plan.kind === "ids" ? this.#locate(plan.ids) : [];
    this.#frozen = isNow ? undefined : store.freeze(store.momentAt(sequence));
  }

  /** Whether a document comes behind a place in the order. Throws QueryError. */
  #behind(after: readonly Value[] | undefined): ((document: Fields) => boolean) | undefined {
    if (after === undefined) return undefined;
    if (after.length !== this.#parts.length || after.length === 0) {
      throw new QueryError("Cannot query: after holds a value for each path of sort");
    }
    const keys = this.#parts.map(({ collation }, at) => sortedAs(after[at], collation));
    const place = { keys, location: 0 };
    return (document) => this.#compare(this.#entryOf(document, 0), place) > 0;
  }

  #entryOf(document: Fields, location: Location): SortEntry {
    const keys = this.#parts.map(({ path, collation }) => {
      return sortedAs(valueAt(document, path), collation);
    });
    return { keys, location };
  }

  /**
   * All documents at once, if they are few and found without looking at every document;
   * else undefined.
   */
  now(): FoundNow[] | undefined {
    const plan = this.#plan;
    if (!plan.isSorted || plan.kind === "scan") return undefined;
    const { skip = 0, limit = 0 } = this.#spec;
    const found: FoundNow[] = [];
    let passed = 0;
    /** Whether there are enough. */
    const take = (location: Location): boolean => {
      const document = this.#read(location);
      if (!this.#matches(document)) return false;
      passed += 1;
      if (passed <= skip) return false;
      const given = this.#project === undefined ? document : this.#project(document);
      found.push({ version: this.#store.version(location), document: given });
      return found.length === limit;
    };
    const isPlain = plan.kind === "index" && !plan.isReversed && !plan.index.isMultiple;
    const range = isPlain && plan.ranges.length === 1 ? plan.ranges[0] : undefined;
    if (range === undefined) {
      for (const location of this.#candidates()) {
        if (take(location)) break;
        if (this.#work > SLICE_WORK) return undefined;
      }
      return found;
    }
    this.#tree?.forRange(range.from, range.to, false, (_key, location) => {
      if (take(location) || this.#work > SLICE_WORK) return { break: true };
      return undefined;
    });
    return this.#work > SLICE_WORK ? undefined : found;
  }

  explain(): Explanation {
    const plan = this.#plan;
    const isIndex = plan.kind === "index";
    return {
      plan: plan.kind,
      index: isIndex ? plan.index.definition.name : "",
      ranges: isIndex ? plan.ranges.length : 0,
      sorts: !plan.isSorted,
    };
  }

  /** Lets compaction go on. */
  end(): void {
    if (this.#isEnded || this.#frozen === undefined) return;
    this.#isEnded = true;
    this.#store.thaw(this.#frozen);
  }

  /** The documents, in order; `undefined` at the end of a slice. */
  *documents(): Generator<Found | undefined, void> {
    const { skip = 0, limit = 0 } = this.#spec;
    const last = limit === 0 ? Number.POSITIVE_INFINITY : skip + limit;
    let at = 0;
    for (const location of this.#plan.isSorted ? this.#matching() : this.#sorted(last)) {
      if (location === undefined) {
        yield undefined;
        continue;
      }
      at += 1;
      if (at > skip) yield this.#give(location);
      if (at >= last) return;
    }
  }

  /** How many documents match; `undefined` at the end of a slice. */
  *count(): Generator<undefined, number> {
    const { skip = 0, limit = 0 } = this.#spec;
    let found = 0;
    for (const location of this.#matching()) {
      if (location === undefined) yield undefined;
      else found += 1;
      if (limit > 0 && found >= skip + limit) break;
    }
    return Math.max(0, found - skip);
  }

  #give(location: Location): Found {
    const document = this.#store.document(location);
    const version = this.#store.version(location);
    if (this.#project === undefined) return { version, document };
    const projected = this.#project(decodeCbor(document) as Fields);
    return { version, document: encodeCbor(projected) };
  }

  #locate(ids: readonly DocumentId[]): Location[] {
    return ids.flatMap((id) => {
      const location = this.#store.locate(encodeKey(id));
      return location === -1 ? [] : [location];
    });
  }

  *#matching(): Generator<Location | undefined> {
    for (const location of this.#candidates()) {
      this.#matched = this.#read(location);
      if (this.#work >= SLICE_WORK) {
        this.#work = 0;
        yield undefined;
      }
      if (this.#matches(this.#matched)) yield location;
    }
  }

  /** A document, decoded; counts the work of it, and of the patterns matched since the last one. */
  #read(location: Location): Fields {
    const bytes = this.#store.document(location);
    this.#work += 1 + (bytes.byteLength >> 10) + (this.#cost.steps >> 12);
    this.#cost.steps = 0;
    return decodeCbor(bytes) as Fields;
  }

  *#candidates(): Generator<Location> {
    const plan = this.#plan;
    if (plan.kind === "ids") {
      yield* this.#direct;
    } else if (plan.kind === "scan") {
      if (this.#frozen === undefined) return;
      for (const { location } of this.#store.frozenRecords(this.#frozen)) yield location;
    } else if (plan.index.isMultiple || plan.ranges.length > 1) {
      // A document with an array has several entries.
      const seen = new Set<Location>();
      for (const location of this.#entries(plan.ranges, false)) {
        if (seen.has(location)) continue;
        seen.add(location);
        yield location;
      }
    } else {
      yield* this.#entries(plan.ranges, plan.isReversed);
    }
  }

  *#entries(ranges: readonly KeyRange[], isReversed: boolean): Generator<Location> {
    const tree = this.#tree;
    if (tree === undefined) return;
    for (const { from, to } of ranges) {
      const entries = isReversed ? tree.entriesReversed(to, undefined, true) : tree.entries(from);
      for (const [key, location] of entries) {
        if (isReversed ? key < from : key >= to) break;
        yield location;
      }
    }
  }

  /** All that match, in the requested order; of those no more than `wanted`. */
  *#sorted(wanted: number): Generator<Location | undefined> {
    const runs: SortEntry[][] = [];
    let run: SortEntry[] = [];
    let kept = 0;
    for (const location of this.#matching()) {
      if (location === undefined) {
        yield undefined;
        continue;
      }
      run.push(this.#entryOf(this.#matched, location));
      kept += 1;
      if (kept > SORTED_DOCUMENTS_MAX) throw tooManyToSort();
      if (run.length < SORT_RUN) continue;
      run.sort((a, b) => this.#compare(a, b));
      // Documents behind the last one that is wanted are not needed in any run.
      if (run.length > wanted) run.length = wanted;
      kept -= SORT_RUN - run.length;
      runs.push(run);
      run = [];
    }
    run.sort((a, b) => this.#compare(a, b));
    runs.push(run);
    yield* this.#merged(runs);
  }

  *#merged(runs: readonly SortEntry[][]): Generator<Location | undefined> {
    let level = runs.filter((run) => run.length > 0);
    while (level.length > 1) {
      const next: SortEntry[][] = [];
      for (let at = 0; at < level.length; at += 2) {
        const other = level[at + 1];
        next.push(other === undefined ? level[at]! : yield* this.#mergePair(level[at]!, other));
      }
      level = next;
    }
    for (const { location } of level[0] ?? []) yield location;
  }

  *#mergePair(a: SortEntry[], b: SortEntry[]): Generator<undefined, SortEntry[]> {
    const merged: SortEntry[] = [];
    let [i, j] = [0, 0];
    while (i < a.length || j < b.length) {
      const isFirst = j >= b.length || (i < a.length && this.#compare(a[i]!, b[j]!) <= 0);
      merged.push(isFirst ? a[i]! : b[j]!);
      if (isFirst) i += 1;
      else j += 1;
      if (merged.length % (4 * SORT_RUN) === 0) yield undefined;
    }
    return merged;
  }

  #compare(a: SortEntry, b: SortEntry): number {
    for (const [at, { direction }] of this.#parts.entries()) {
      const order = compareValues(a.keys[at], b.keys[at]);
      if (order !== 0) return order * direction;
    }
    return 0;
  }
}

function tooManyToSort(): QueryError {
  return new QueryError(
    `Cannot sort more than ${SORTED_DOCUMENTS_MAX} documents: make an index of the paths to sort by, or set a limit`,
  );
}
