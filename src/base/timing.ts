/**
 * The one table of times after which something is tried or looked at again, and of how often. All
 * times are in milliseconds. Timers of consensus are configuration and stand in `node_config.ts`;
 * deadlines and lifetimes stand in `limits.ts` or beside the thing that ends.
 *
 * @module
 */

/** The wait that an OVERLOADED answer names: about as long as the bound is usually in the way. */
export const RETRY_AFTER_MS = {
  /** A snapshot takes the place of the state, up to seconds. */
  restoring: 500,
  /** Leadership moves: one election timeout by default. */
  handover: 200,
  /** Another change of the members is under way, or their folders are not bound yet. */
  membership: 200,
  /** A node does not take part yet in collections that every node writes. */
  masters: 100,
  /** All places for cursors are taken. */
  cursors: 200,
  /** All places for waiting change streams are taken. */
  changeStreams: 500,
  /** All places for backups are taken, which last longest. */
  backups: 1000,
  /**
   * The session's window is full: the client's next request acknowledges answers and frees room.
   */
  sessionWindow: 5,
  /** Bytes wait to be committed: a few batches. */
  requestBytes: 20,
  /** The uncommitted part of the log is full: the followers are slow. */
  uncommittedBytes: 100,
  /** All places for connections are taken. */
  connections: 1000,
  /** The client's own queue is full. */
  clientQueue: 100,
} as const;

/** Between two looks at something that gives no signal when it changes. */
export const POLL_INTERVAL_MS = {
  /** Membership, bindings, sessions and the cut of the log, on each node. */
  housekeeping: 100,
  /** The leader tells the members how far each of them is known to hold the log. */
  acknowledged: 500,
  /** Between two steps of building an index; requests are served in between. */
  indexBuild: 5,
  /** Until the leader logs again that an index is ready. */
  indexReady: 500,
  /** A client writes again, as its collection's mode asks for. */
  mode: 10,
  /** A node asks for another one's state, until one comes. */
  seed: 500,
  /** The leader agrees upon how far removals are forgotten. */
  floor: 1000,
  sessionExpiry: 5000,
  documentExpiry: 1000,
  /** New changes for a stream that waits. */
  changeStream: 10,
  /** Deadlines of reads that wait for a quorum. */
  waitingReads: 25,
  idleCursors: 1000,
  /** The entry of a comparison of states is applied. */
  digest: 20,
  /** A client waits for an index to serve. */
  indexServes: 20,
  /** A client looks whether a connection is up. */
  clientConnects: 5,
  /** A client looks at its requests' deadlines. */
  clientRequests: 5,
  /** A client confirms early answers (ASYNC). */
  clientConfirm: 100,
  /** `waitForLeader`. */
  leader: 5,
} as const;

/** Between two attempts: the first wait, and the longest that it grows to. */
export const BACKOFF_MS = {
  /** A node dials a peer. */
  peerDial: { first: 20, max: 1000 },
  /** A client sends a refused request again. */
  request: { first: 10, max: 100 },
  /** A transaction runs again after a conflict. */
  transaction: { first: 2, max: 200 },
  /** A coordinator asks a participant again. */
  twoPhaseCommit: { first: 10, max: 1000 },
  /** A node asks again to be let in to a cluster. */
  join: { first: 500, max: 500 },
} as const;

/** Waits of a client between dials of one node. */
export const CLIENT_DIAL_MS: readonly number[] = [10, 25, 50, 100, 200, 400];

/** Attempts before an error is given to the caller. */
export const ATTEMPTS_MAX = {
  /** Half a minute, in which a cluster elects a leader or comes up. */
  join: 60,
  /** A damaged node that asks to be taken back, at its start. */
  repair: 20,
  /** A query whose cursor was lost on the way. */
  query: 3,
  /** A write whose collection was taken for one of the other mode. */
  mode: 20,
  /** `updateOne` whose document was changed by others in between. */
  update: 20,
} as const;

/** A client that is closed waits so long for a node to take the last bytes. */
export const CLIENT_END_MS = 250;
