/**
 * An error of the class that its number stands for: one that came over the wire, or was kept.
 *
 * @module
 */

import { assert } from "../../base/assert.ts";
import {
  AmbiguousTransactionError,
  ClosedError,
  CompactedError,
  ConfigError,
  type CStoreError,
  CursorLostError,
  DeadlineError,
  DuplicateKeyError,
  DuplicateRequestError,
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  type ErrorFields,
  HandshakeError,
  MembershipError,
  NoQuorumError,
  NotConfirmedError,
  NotFoundError,
  NotLeaderError,
  OverloadedError,
  ProtocolError,
  QueryError,
  RemovedError,
  RolledBackError,
  SessionExpiredError,
  StorageError,
  TransactionConflictError,
  TransactionTimeoutError,
  UncheckedError,
  UnknownOutcomeError,
  ValidationError,
  VersionConflictError,
  WrongModeError,
  withoutStack,
} from "../../base/errors.ts";

/** An error as it came over the wire, beside its code. */
export interface RemoteError extends ErrorDetails {
  readonly message: string;
}

type ErrorMaker = (message: string, details: ErrorDetails & { fields: ErrorFields }) => CStoreError;

const MAKERS: Partial<Record<ErrorCode, ErrorMaker>> = {
  NOT_LEADER: (message, { fields }) => {
    const { leaderId: id = "", leaderAddress: address = "" } = fields;
    return new NotLeaderError(message, { id, address });
  },
  NO_QUORUM: (message, details) => new NoQuorumError(message, details),
  UNKNOWN_OUTCOME: (message, details) => new UnknownOutcomeError(message, details),
  DEADLINE: (message, details) => new DeadlineError(message, details),
  OVERLOADED: (message, details) =>
    new OverloadedError(message, details.fields.retryAfterMs ?? 100, details),
  VERSION_CONFLICT: (message, details) =>
    new VersionConflictError(message, details.fields.actualVersion ?? 0, details),
  DUPLICATE_KEY: (message, details) => new DuplicateKeyError(message, details),
  NOT_FOUND: (message, details) => new NotFoundError(message, details),
  SESSION_EXPIRED: (message, details) => new SessionExpiredError(message, details),
  DUPLICATE_REQUEST: (message, details) => new DuplicateRequestError(message, details),
  HANDSHAKE: (message, details) => new HandshakeError(message, details),
  STORAGE: (message, details) => new StorageError(message, details),
  VALIDATION: (message, details) => new ValidationError(message, details),
  CONFIG: (message, details) => new ConfigError(message, details),
  QUERY: (message, details) => new QueryError(message, details),
  CONFLICT: (message, details) => new TransactionConflictError(message, details),
  COMPACTED: (message, details) => new CompactedError(message, details),
  CURSOR_LOST: (message, details) => new CursorLostError(message, details),
  CLOSED: (message, details) => new ClosedError(message, details),
  TRANSACTION_TIMEOUT: (message, details) => new TransactionTimeoutError(message, details),
  UNCHECKED: (message, details) => new UncheckedError(message, details),
  AMBIGUOUS_TRANSACTION: (message, details) => new AmbiguousTransactionError(message, details),
  MEMBERSHIP: (message, details) => new MembershipError(message, details),
  REMOVED: (message, details) => new RemovedError(message, details),
  ROLLED_BACK: (message, details) => new RolledBackError(message, details),
  WRONG_MODE: (message, details) => new WrongModeError(message, details),
  NOT_CONFIRMED: (message, details) => {
    const { acknowledgements = 1, of = acknowledgements } = details.fields;
    return new NotConfirmedError(message, { acknowledgements, of }, details);
  },
};

/**
 * The error that a number and fields from the wire stand for. A code that only one process can
 * mean, like a damaged file of its own, becomes a ProtocolError with the same message.
 */
export function errorFromNumber(number: number, remote: RemoteError): CStoreError {
  const code = ERROR_CODES[number];
  assert(code === undefined || number < ERROR_CODES.length, "a code has a number");
  const maker = code === undefined ? undefined : MAKERS[code];
  const { message, remedy, fields = {} } = remote;
  const details = { fields, ...(remedy !== undefined && { remedy }) };
  return withoutStack(() => maker?.(message, details) ?? new ProtocolError(message, details));
}
