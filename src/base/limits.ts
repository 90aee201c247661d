/**
 * Hard limits of wire, disk and memory, in bytes unless the name says otherwise. They are part of
 * the formats, so they are not configuration. Their relations are asserted when the module loads.
 *
 * @module
 */

import { assert } from "./assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Largest frame body. */
export const FRAME_BODY_SIZE_MAX = 28 * MIB;
/** Bytes of a frame's body for which room is made before they come; more as they do. */
export const FRAME_ROOM_SIZE = 1 * MIB;
/** Largest frame body before the handshake is done. */
export const HANDSHAKE_BODY_SIZE_MAX = 16 * KIB;
/** Largest raw (uncompressed) batch body; also the largest request. */
export const BATCH_BODY_SIZE_MAX = 18 * MIB;
/** Largest request by rules before the third: nodes of their builds take no larger batch. */
export const EARLY_REQUEST_SIZE_MAX = 4 * MIB;
/**
 * Size at which an open batch is closed even if operations wait; a larger single request
 * is allowed.
 */
export const BATCH_BODY_SIZE_GOAL = 512 * KIB;
/** Batches that are proposed and not committed, per leader, in SYNC mode. */
export const BATCHES_IN_FLIGHT_MAX = 4;
/** Largest encoded document of any collection. */
export const DOCUMENT_SIZE_MAX = 16 * MIB;
/** Largest encoded document of a collection that was made without a bound of its own. */
export const DOCUMENT_SIZE_DEFAULT = 1 * MIB;
/** The lowest such bound. */
export const DOCUMENT_SIZE_LEAST = 1 * KIB;
/** Deepest nesting of a document. */
export const DOCUMENT_DEPTH_MAX = 64;
/** Largest encoded document key. */
export const KEY_SIZE_MAX = 1 * KIB;
/** Longest collection name, in bytes of UTF-8. */
export const COLLECTION_NAME_SIZE_MAX = 120;
/** Segments of a dotted path. */
export const PATH_SEGMENTS_MAX = 32;
/** Longest path, in characters. */
export const PATH_LENGTH_MAX = 512;
/** Values that one path may lead through in one document. */
export const PATH_VISITS_MAX = 100_000;
/** Paths of a sort, and of a projection. */
export const QUERY_PATHS_MAX = 100;
/** Comparisons of an operator on arrays. */
export const COMPARISONS_MAX = 4_000_000;
/** Bytes of documents that the updates and conditional removals of one request may read. */
export const READ_SIZE_MAX = 64 * MIB;
/** Deepest nesting of a query's conditions. */
export const QUERY_DEPTH_MAX = 32;
/** Conditions of one query. */
export const QUERY_NODES_MAX = 1000;
/** Items of all lists in one query. */
export const QUERY_ITEMS_MAX = 10_000;
/** Longest pattern of a regular expression in a query, in characters. */
export const PATTERN_LENGTH_MAX = 1000;
/** Instructions of a pattern's program. */
export const PATTERN_PROGRAM_MAX = 2000;
/** Steps that a pattern may need on one text. */
export const PATTERN_STEPS_MAX = 5_000_000;
/** Steps of patterns in the updates and conditional removals of one request. */
export const REQUEST_STEPS_MAX = 50_000_000;
/** Largest change of the catalog. */
export const CATALOG_SIZE_MAX = 64 * KIB;
/** Indexes of one collection. */
export const INDEXES_MAX = 32;
/** Paths of one index. */
export const INDEX_PATHS_MAX = 8;
/** Entries that one document may have in one index. */
export const INDEX_ENTRIES_MAX = 1000;
/** Longest key of an entry, in UTF-16 code units. */
export const INDEX_KEY_LENGTH_MAX = 2048;
/** Documents that one query sorts without an index. */
export const SORTED_DOCUMENTS_MAX = 500_000;
/** Ranges of operations without effect that a node remembers for change streams. */
export const IDLE_OPERATIONS_MAX = 500_000;
/** Bytes of documents made by updates that a node remembers for change streams. */
export const MADE_BYTES_MAX = 8 * MIB;
/** Changes of one answer to a change stream. */
export const CHANGES_MAX = 1000;
/** Longest wait of one request of a change stream for something to happen. */
export const WATCH_WAIT_MS_MAX = 30_000;
/** Bytes of documents at which an answer to a query is full. */
export const PAGE_SIZE_GOAL = 1 * MIB;
/** Queries of a node that are under way or wait to be continued. */
export const CURSORS_MAX = 1024;
/** Idle time after which a cursor is closed. */
export const CURSOR_IDLE_MS = 30_000;
/** Longest life of a cursor: it keeps the memory of documents replaced meanwhile. */
export const CURSOR_LIFE_MS = 600_000;
/** Collections of one database. */
export const COLLECTIONS_MAX = 4096;
/** Operations of one request. */
export const OPERATIONS_PER_REQUEST_MAX = 10_000;
/** Largest result of one request that gives back documents; a single one may be larger. */
export const RESULT_SIZE_MAX = 4 * MIB;
/** Largest answer to a query, or to a change stream. */
export const ANSWER_SIZE_MAX = FRAME_BODY_SIZE_MAX - 64 * KIB;
/** Bytes of documents that the MERGE operations of one request may make together. */
export const MERGED_SIZE_MAX = 16 * MIB;
/** Batch body from which compression is tried. */
export const COMPRESSION_SIZE_MIN = 4 * KIB;

/** Connections that a node keeps open. */
export const CONNECTIONS_MAX = 4096;
/** Bytes of requests that are admitted and not answered, per node. */
export const REQUEST_BYTES_IN_FLIGHT_MAX = 64 * MIB;
/** Bytes of requests that wait on a follower, between a leader's end and the next one. */
export const BETWEEN_LEADERS_BYTES_MAX = 4 * MIB;
/** Requests that are admitted and not answered, per connection. */
export const REQUESTS_IN_FLIGHT_PER_CONNECTION_MAX = 16_384;
/** Unsent bytes of one client at which its reads wait until it has taken half of them. */
export const CLIENT_OUT_BYTES_GOAL = 16 * MIB;
/** Unsent bytes at which a client is cut off. */
export const CLIENT_OUT_BYTES_MAX = 64 * MIB;
/** In so many milliseconds a client takes {@link CLIENT_TAKES_MIN} of what waits for it. */
export const CLIENT_STALL_MS = 10_000;
/** Half a megabit a second: who takes less is cut off. */
export const CLIENT_TAKES_MIN = 640 * KIB;
/** Unsent bytes of one peer queue; more is dropped and sent again by the consensus rules. */
export const PEER_OUT_BYTES_MAX = 64 * MIB;
/** Time for the whole handshake, in milliseconds. */
export const HANDSHAKE_TIMEOUT_MS = 2_000;
/** Time after which a frame must be whole, or have brought {@link FRAME_BYTES_MIN}, in ms. */
export const FRAME_TIMEOUT_MS = 10_000;
/** Bytes of a frame in each such time: half a megabit a second. */
export const FRAME_BYTES_MIN = 640 * KIB;
/** Bytes of a frame of that size are a sign of life before it is whole; smaller ones are soon. */
export const LIFE_SIZE_MIN = 4 * KIB;

/** Requests that wait in a client for a place among those under way. */
export const CLIENT_QUEUE_MAX = 65_536;

/** Request numbers above `acknowledgedBelow` that a session remembers. */
export const SESSION_WINDOW_MAX = 4096;
/** Bytes of results with documents that a session remembers. */
export const SESSION_RESULT_BYTES_MAX = 4 * MIB;
/** Sessions of one cluster. */
export const SESSIONS_MAX = 10_000;

/** Newest batches kept in memory beside the log files. */
export const LOG_CACHE_BYTES = 64 * MIB;
/** Log bytes kept for a voter that cannot be reached. */
export const LOG_RETAIN_BYTES = 8 * 1024 * MIB;
/** Default size of a log segment. */
export const SEGMENT_SIZE_BYTES = 64 * MIB;
/** Bytes of one block of a snapshot file. */
export const SNAPSHOT_BLOCK_SIZE = 1 * MIB;
/** Bytes of one slab of encoded documents. */
export const SLAB_SIZE = 4 * MIB;

assert(FRAME_BODY_SIZE_MAX >= BATCH_BODY_SIZE_MAX + 64 * KIB, "a frame holds any batch");
assert(ANSWER_SIZE_MAX >= RESULT_SIZE_MAX + DOCUMENT_SIZE_MAX, "a frame holds any result");
assert(ANSWER_SIZE_MAX > PAGE_SIZE_GOAL + DOCUMENT_SIZE_MAX + MADE_BYTES_MAX, "and any changes");
assert(BATCH_BODY_SIZE_MAX > DOCUMENT_SIZE_MAX + 64 * KIB, "a batch holds any document");
assert(EARLY_REQUEST_SIZE_MAX > 2 * DOCUMENT_SIZE_DEFAULT, "any of the earlier ones, too");
assert(BATCH_BODY_SIZE_GOAL < EARLY_REQUEST_SIZE_MAX, "the goal lies below the bound");
assert(SEGMENT_SIZE_BYTES >= 2 * FRAME_BODY_SIZE_MAX, "a segment holds several frames");
assert(SLAB_SIZE > 2 * (DOCUMENT_SIZE_DEFAULT + KEY_SIZE_MAX), "a slab holds usual documents");
assert(CLIENT_OUT_BYTES_MAX >= 2 * FRAME_BODY_SIZE_MAX, "a client may have two answers before it");
assert(PEER_OUT_BYTES_MAX > 2 * FRAME_BODY_SIZE_MAX, "a peer may have two batches before it");

/** Voters of one cluster. */
export const VOTERS_MAX = 9;
