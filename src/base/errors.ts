/**
 * Every error class of cstore, once: its code, and whether repeating the request is harmless.
 *
 * @module
 */

/**
 * `safe`: nothing happened. `never`: repeating gives the same. `unknown-outcome`: it may
 * have happened.
 */
export type RetryRule = "safe" | "never" | "unknown-outcome";

/** Facts for programs: the things that an error is about. They travel over the wire. */
export interface ErrorFields {
  readonly collection?: string;
  readonly index?: string;
  /** Id of a document, or the JSON text of one that is no string or number. */
  readonly id?: string | number;
  /** Dotted path in a document or query. */
  readonly path?: string;
  /** Node id of a member. */
  readonly nodeId?: string;
  /** Incarnation of a data folder, 16 hex digits. */
  readonly incarnation?: string;
  /** NOT_LEADER: empty while no leader is known, like `leaderAddress`. */
  readonly leaderId?: string;
  readonly leaderAddress?: string;
  /** OVERLOADED */
  readonly retryAfterMs?: number;
  /** VERSION_CONFLICT */
  readonly actualVersion?: number;
  /** NOT_CONFIRMED: members whose disks have the write, and how many there are. */
  readonly acknowledgements?: number;
  readonly of?: number;
  /** WRONG_MODE: who writes the collection. */
  readonly mode?: string;
  /** CORRUPTION: the damaged file, and the first wrong byte of it. */
  readonly file?: string;
  readonly byte?: number;
}

/** Details that an error carries beside its message. */
export interface ErrorDetails {
  readonly cause?: unknown;
  /** Advice to the reader. */
  readonly remedy?: string | undefined;
  readonly fields?: ErrorFields;
}

const NO_FIELDS: ErrorFields = Object.freeze({});

/** Base of all errors that cstore gives to a caller. */
export abstract class CStoreError extends Error {
  /** Stable word for programs. */
  abstract readonly code: ErrorCode;
  abstract readonly retry: RetryRule;
  readonly remedy: string | undefined;
  readonly fields: ErrorFields;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.remedy = details.remedy;
    this.fields = details.fields ?? NO_FIELDS;
  }
}

/** This node does not lead. `leaderId` and `leaderAddress` are empty while no leader is known. */
export class NotLeaderError extends CStoreError {
  readonly code = "NOT_LEADER";
  readonly retry = "safe";
  readonly leaderId: string;
  readonly leaderAddress: string;

  constructor(message: string, leader: { readonly id: string; readonly address: string }) {
    super(message, {
      remedy: "Send the request to the leader, or wait for the election to end",
      fields: { leaderId: leader.id, leaderAddress: leader.address },
    });
    this.leaderId = leader.id;
    this.leaderAddress = leader.address;
  }
}

/** Too few voters are reachable; nothing was logged. */
export class NoQuorumError extends CStoreError {
  readonly code = "NO_QUORUM";
  readonly retry = "safe";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { remedy: "Bring a voter back", ...details });
  }
}

/** The request may have been carried out or not; only a later leader can tell. */
export class UnknownOutcomeError extends CStoreError {
  readonly code = "UNKNOWN_OUTCOME";
  readonly retry = "unknown-outcome";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, {
      remedy: "Repeat the request with the same request number: it is applied at most once",
      ...details,
    });
  }
}

/** No answer within the deadline; the request may have been carried out or not. */
export class DeadlineError extends CStoreError {
  readonly code = "DEADLINE";
  readonly retry = "unknown-outcome";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { remedy: "Raise the deadline, or look at the leader's lag", ...details });
  }
}

/** A named bound is reached; nothing happened. */
export class OverloadedError extends CStoreError {
  readonly code = "OVERLOADED";
  readonly retry = "safe";
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number, details: ErrorDetails = {}) {
    super(message, {
      remedy: `Wait ${retryAfterMs} ms, keep fewer requests in flight`,
      ...details,
      fields: { ...details.fields, retryAfterMs },
    });
    this.retryAfterMs = retryAfterMs;
  }
}

/** `ifVersion` did not match the document's version; nothing of the request was applied. */
export class VersionConflictError extends CStoreError {
  readonly code = "VERSION_CONFLICT";
  readonly retry = "never";
  /** The document's version now; 0 when there is none. */
  readonly actualVersion: number;

  constructor(message: string, actualVersion: number, details: ErrorDetails = {}) {
    super(message, {
      remedy: "Read the document again and decide anew",
      ...details,
      fields: { ...details.fields, actualVersion },
    });
    this.actualVersion = actualVersion;
  }
}

/** A transaction has timed out; it was rolled back. */
export class TransactionTimeoutError extends CStoreError {
  readonly code = "TRANSACTION_TIMEOUT";
  readonly retry = "safe";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { remedy: "Run the transaction again, or give it more time", ...details });
  }
}

/** Several transactions are open, and a write does not say to which it belongs. */
export class AmbiguousTransactionError extends CStoreError {
  readonly code = "AMBIGUOUS_TRANSACTION";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, {
      remedy: "Use `transaction()`, whose function is given its own collections",
      ...details,
    });
  }
}

/** A document with that key exists already. */
export class DuplicateKeyError extends CStoreError {
  readonly code = "DUPLICATE_KEY";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, {
      remedy: "Choose another key, or use put to replace the document",
      ...details,
    });
  }
}

/** A change of leader or members did not come about; the cluster goes on as it was. */
export class MembershipError extends CStoreError {
  readonly code = "MEMBERSHIP";
  readonly retry = "safe";
}

/** The thing named in the request does not exist. */
export class NotFoundError extends CStoreError {
  readonly code = "NOT_FOUND";
  readonly retry = "never";
}

/** The session is not known: it was never registered, or it expired. Nothing was executed. */
export class SessionExpiredError extends CStoreError {
  readonly code = "SESSION_EXPIRED";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, {
      remedy: "Open a new session; whether earlier requests were applied is in doubt",
      ...details,
    });
  }
}

/**
 * The request number was answered long ago, or was used before with other bytes. Nothing
 * was executed.
 */
export class DuplicateRequestError extends CStoreError {
  readonly code = "DUPLICATE_REQUEST";
  readonly retry = "never";
}

/** Bytes on a connection that the protocol does not allow. The connection is closed. */
export class ProtocolError extends CStoreError {
  readonly code = "PROTOCOL";
  readonly retry = "never";
}

/**
 * Another cluster, another incarnation, or a version that does not fit: the handshake is refused.
 */
export class HandshakeError extends CStoreError {
  readonly code = "HANDSHAKE";
  readonly retry = "never";
}

/** This node's data folder was removed from the cluster: it never takes part again. */
export class RemovedError extends CStoreError {
  readonly code = "REMOVED";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, {
      remedy: "Keep or delete the folder; to come back, start with an empty one and --join",
      ...details,
    });
  }
}

/**
 * The data folder is an older copy of itself: it has forgotten entries that it acknowledged. Its
 * node neither votes nor acknowledges.
 */
export class RolledBackError extends CStoreError {
  readonly code = "ROLLED_BACK";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, {
      remedy:
        "Keep the folder and do not start it again. While the other nodes have a majority: " +
        "`cstore cluster recover ID`, then start the node with an empty folder",
      ...details,
    });
  }
}

/** Stored bytes that were synced once are damaged. `file` and `byte` say where. */
export class CorruptionError extends CStoreError {
  readonly code = "CORRUPTION";
  readonly retry = "never";
  readonly file: string;
  readonly byte: number;

  constructor(message: string, place: { readonly file: string; readonly byte: number }) {
    super(`${message} (file "${place.file}", byte ${place.byte})`, {
      remedy:
        "Keep the folder, and start no older copy of it: that has forgotten writes which it " +
        "acknowledged. In a cluster the other nodes go on: `cstore cluster recover ID`, then start " +
        "the node with an empty folder. A database without other nodes: `cstore wal repair DIR`",
      fields: { file: place.file, byte: place.byte },
    });
    this.file = place.file;
    this.byte = place.byte;
  }
}

/** A file operation failed. After a failed sync nothing is retried on the same file. */
export class StorageError extends CStoreError {
  readonly code = "STORAGE";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { remedy: "See the cause; free space, check the disk", ...details });
  }
}

/** A document, key or change that cstore does not store. */
export class ValidationError extends CStoreError {
  readonly code = "VALIDATION";
  readonly retry = "never";
}

/** A collection takes only what its validator has passed, and this was not shown to it. */
export class UncheckedError extends CStoreError {
  readonly code = "UNCHECKED";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, {
      remedy: "Write with a program that registers the validator, through insert, save or update",
      ...details,
    });
  }
}

/** A query or update that cannot be understood, or that asks for more than the bounds allow. */
export class QueryError extends CStoreError {
  readonly code = "QUERY";
  readonly retry = "never";
}

/** Something that a transaction had read was changed before it ended. Nothing was written. */
export class TransactionConflictError extends CStoreError {
  readonly code = "CONFLICT";
  readonly retry = "safe";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { remedy: "Run the transaction again", ...details });
  }
}

/** A change stream asks for changes that are not kept any more. */
export class CompactedError extends CStoreError {
  readonly code = "COMPACTED";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { remedy: "Read the documents anew, and watch from now on", ...details });
  }
}

/** A cursor is unknown to the node: it was idle too long, or another node answers now. */
export class CursorLostError extends CStoreError {
  readonly code = "CURSOR_LOST";
  readonly retry = "never";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { remedy: "Ask the query again", ...details });
  }
}

/** Another process holds the data folder. */
export class LockedError extends CStoreError {
  readonly code = "LOCKED";
  readonly retry = "safe";

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, { remedy: "Stop the other process, or choose another folder", ...details });
  }
}

/** An option that is unknown, out of range, or contradicts another one. */
export class ConfigError extends CStoreError {
  readonly code = "CONFIG";
  readonly retry = "never";
}

/**
 * The collection is written by every node, and was taken for one that the leader writes; or the
 * other way round. Nothing happened.
 */
export class WrongModeError extends CStoreError {
  readonly code = "WRONG_MODE";
  readonly retry = "never";
}

/**
 * A write is on the disk of the node that took it, and of too few others in time: it goes on to
 * them, and is not taken back.
 */
export class NotConfirmedError extends CStoreError {
  readonly code = "NOT_CONFIRMED";
  readonly retry = "never";
  /** Disks that are known to have it. */
  readonly acknowledgements: number;
  /** Members. */
  readonly of: number;

  constructor(
    message: string,
    known: { readonly acknowledgements: number; readonly of: number },
    details: ErrorDetails = {},
  ) {
    super(message, {
      remedy: "The write stays and reaches the others when they can be reached; do not repeat it",
      ...details,
      fields: { ...details.fields, ...known },
    });
    this.acknowledgements = known.acknowledgements;
    this.of = known.of;
  }
}

/** The thing was closed before or while the request ran; nothing was sent. */
export class ClosedError extends CStoreError {
  readonly code = "CLOSED";
  readonly retry = "never";
}

/** No node answered at the given addresses; nothing was sent. */
export class UnreachableError extends CStoreError {
  readonly code = "UNREACHABLE";
  readonly retry = "safe";
  /** The machine refused the connection: no process listens there, so the node is gone. */
  readonly isRefused: boolean;

  constructor(message: string, details: ErrorDetails & { readonly isRefused?: boolean } = {}) {
    super(message, details);
    this.isRefused = details.isRefused ?? false;
  }
}

/** The codes by their number on the wire. A number is never used for anything else again. */
export const ERROR_CODES = [
  "NONE",
  "NOT_LEADER",
  "NO_QUORUM",
  "UNKNOWN_OUTCOME",
  "DEADLINE",
  "OVERLOADED",
  "VERSION_CONFLICT",
  "DUPLICATE_KEY",
  "NOT_FOUND",
  "SESSION_EXPIRED",
  "DUPLICATE_REQUEST",
  "PROTOCOL",
  "HANDSHAKE",
  "CORRUPTION",
  "STORAGE",
  "VALIDATION",
  "LOCKED",
  "CONFIG",
  "CLOSED",
  "UNREACHABLE",
  "MEMBERSHIP",
  "REMOVED",
  "QUERY",
  "CONFLICT",
  "COMPACTED",
  "CURSOR_LOST",
  "TRANSACTION_TIMEOUT",
  "AMBIGUOUS_TRANSACTION",
  "UNCHECKED",
  "ROLLED_BACK",
  "WRONG_MODE",
  "NOT_CONFIRMED",
] as const;

/** The stable word of an error. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/** An error's number on the wire. */
export function errorNumber(code: ErrorCode): number {
  return ERROR_CODES.indexOf(code);
}

/**
 * An error whose stack is its name and message: a refusal that is sent away, or one that came with
 * a reply. No caller of theirs would be in it, it costs most of them, and they come in masses.
 */
export function withoutStack<T extends CStoreError>(make: () => T): T {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  try {
    const error = make();
    const value = `${error.name}: ${error.message}`;
    return Object.defineProperty(error, "stack", { value, writable: true, configurable: true });
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}
