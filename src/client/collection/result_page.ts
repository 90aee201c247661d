/**
 * Pages of a query, each behind the last document of the one before. The token is that document's
 * place in the order: base64url of a CBOR array with the paths of the order, then the values at
 * them.
 *
 * @module
 */

import type { Item, PageOptions, ResultPage, Versioned } from "../../api/collection.ts";
import { readCollation } from "../../base/collation.ts";
import { CStoreError, QueryError } from "../../base/errors.ts";
import type { Fields, Value } from "../../base/value.ts";
import { decodeUntrustedCbor, encodeCbor } from "../../protocol/encoding/cbor.ts";
import type { Filter } from "../../query/matcher.ts";
import { valueAt } from "../../query/path.ts";
import { type SortPart, type SortSpec, sortParts } from "../../query/sort.ts";
import type { WireQuery } from "./query_client.ts";

/** Documents of a page that names no limit. */
const PAGE_LIMIT = 100;
/** Characters of a token: it goes into a request, which has a bound. */
const TOKEN_LENGTH_MAX = 128 * 1024;

/** The query that pages are made of. */
interface PagedQuery<T> {
  readonly filter: Filter;
  readonly options: PageOptions<T>;
  readonly idField: string;
}

/** Asks for one page, and for one document more: it says whether another page follows. */
export async function resultPage<T extends Item>(
  { filter, options, idField }: PagedQuery<T>,
  ask: (query: WireQuery) => Promise<{ readonly documents: readonly Versioned<T>[] }>,
): Promise<ResultPage<T>> {
  const { sort: given = {}, limit = PAGE_LIMIT, after, collation } = options;
  if (!Number.isSafeInteger(limit) || limit < 1) {
    throw new QueryError(
      `Cannot give a page of ${limit} documents: limit is a whole number from 1`,
    );
  }
  // The id settles the order of documents that are equal otherwise.
  const sort: SortSpec = Object.hasOwn(given, idField) ? given : { ...given, [idField]: 1 };
  const parts = sortParts(sort, { collation: readCollation(collation), idField });
  const place = after === undefined ? undefined : placeIn(after, parts);
  const { documents } = await ask({ filter, sort, limit: limit + 1, after: place, collation });
  const shown = documents.slice(0, limit).map(({ document }) => document);
  const last = shown.at(-1);
  const hasMore = documents.length > limit && last !== undefined;
  return { documents: shown, next: hasMore ? tokenOf(last as Fields, parts) : undefined };
}

/** Its paths, with a minus if they go down, and the strength of their collation behind them. */
function orderOf(parts: readonly SortPart[]): string[] {
  return parts.map(({ name, direction, collation }) => {
    const sign = direction === 1 ? "" : "-";
    return collation === undefined ? `${sign}${name}` : `${sign}${name}\n${collation.strength}`;
  });
}

function tokenOf(document: Fields, parts: readonly SortPart[]): string {
  const order = orderOf(parts);
  const values = parts.map(({ path }) => valueAt(document, path));
  const token = Buffer.from(encodeCbor([order, values])).toString("base64url");
  if (token.length <= TOKEN_LENGTH_MAX) return token;
  throw new QueryError(
    "Cannot give a token for the next page: the values of the order are too long",
    {
      remedy: "Sort by a shorter value",
    },
  );
}

/** The values in a token. Throws QueryError for a token of another order. */
function placeIn(token: string, parts: readonly SortPart[]): readonly Value[] {
  const read = readToken(token);
  const order = orderOf(parts);
  const [names, values] = Array.isArray(read) ? (read as readonly Value[]) : [];
  const isSame = Array.isArray(names) && names.join("\n\n") === order.join("\n\n");
  if (isSame && Array.isArray(values) && values.length === order.length) return values;
  throw new QueryError("Cannot go on behind this token: it is none of a page in this order", {
    remedy: "Give `after` the token `next` of a page with the same `sort`",
  });
}

function readToken(token: string): unknown {
  if (typeof token !== "string" || token.length > TOKEN_LENGTH_MAX) return undefined;
  try {
    return decodeUntrustedCbor(new Uint8Array(Buffer.from(token, "base64url")));
  } catch (error) {
    if (error instanceof CStoreError) return undefined;
    throw error;
  }
}
