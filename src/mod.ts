/**
 * cstore: a replicated document store.
 *
 * @module
 */

export type { Change, UpdateOperators } from "./api/change.ts";
export type { Change as DocumentChange, WatchOptions } from "./api/changes.ts";
export type {
  AnyDocument,
  BulkOperation,
  BulkResult,
  ChangeOptions,
  Collection,
  CollectionOptions,
  CollectionSettingsOptions,
  Explanation,
  FindOneAndUpdateOptions,
  IndexInfo,
  IndexOptions,
  Item,
  NewDocument,
  PageOptions,
  RangeBounds,
  ResultPage,
  UpdateResult,
  UpsertOptions,
  Versioned,
  WriteOptions,
} from "./api/collection.ts";
export type {
  Conflict,
  ConflictList,
  ConflictOptions,
  ConflictSibling,
} from "./api/conflict.ts";
export type { Database } from "./api/database.ts";
export type { Path, PathValue } from "./api/path.ts";
export type {
  CollationOptions,
  Condition,
  FieldQuery,
  FindOptions,
  Projected,
  Projection,
  Query,
  ReadOptions,
  Sort,
} from "./api/query.ts";
export type { Transaction, TransactionCollection, TransactionOptions } from "./api/transaction.ts";
export type { Validator, ValidatorIssue, ValidatorResult, Validators } from "./api/validator.ts";
export {
  AmbiguousTransactionError,
  ClosedError,
  CompactedError,
  ConfigError,
  CorruptionError,
  CStoreError,
  CursorLostError,
  DeadlineError,
  DuplicateKeyError,
  DuplicateRequestError,
  type ErrorCode,
  HandshakeError,
  LockedError,
  MembershipError,
  NoQuorumError,
  NotConfirmedError,
  NotFoundError,
  NotLeaderError,
  OverloadedError,
  ProtocolError,
  QueryError,
  RemovedError,
  type RetryRule,
  RolledBackError,
  SessionExpiredError,
  StorageError,
  TransactionConflictError,
  TransactionTimeoutError,
  UncheckedError,
  UnknownOutcomeError,
  UnreachableError,
  ValidationError,
  VersionConflictError,
  WrongModeError,
} from "./base/errors.ts";
export { VERSION } from "./base/version.ts";
export { Client } from "./client/connection/client.ts";
export type { ClientOptions, LostWrite } from "./client/connection/client_options.ts";
export { type ConnectOptions, connect, RemoteDatabase } from "./client/remote_database.ts";
export type {
  ConflictConfig,
  ConflictResolver,
  ConflictStrategy,
  RemovalRule,
  Sibling,
} from "./multi_master/operation/conflict_rule.ts";
export { type NodeConfig, type NodeOptions, parseNodeConfig } from "./node/config/node_config.ts";
export {
  type ClusterConfig,
  type ReplicatedDatabaseConfig,
  ReplicatedWALDatabase,
} from "./node/embedded/replicated_wal_database.ts";
export { WALCollection, type WALCollectionConfig } from "./node/embedded/wal_collection.ts";
export { WALDatabase, type WALDatabaseConfig } from "./node/embedded/wal_database.ts";
export { Node } from "./node/node.ts";
export type { BackupReport } from "./node/snapshots/backup.ts";
export type {
  CollectionMode,
  CollectionSettings,
} from "./protocol/encoding/collection_settings.ts";
export type { Acknowledgement } from "./protocol/wire/client_message.ts";
export {
  type ReplicationMessage,
  ReplicationProtocol,
} from "./protocol/wire/replication_message.ts";
export type { NodeStatus } from "./protocol/wire/status.ts";
export type {
  AppendAnswer,
  AppendQuestion,
  ConsensusManager,
  ConsensusRole,
  VoteAnswer,
  VoteQuestion,
} from "./replication/wal/consensus_manager.ts";
export {
  type ConsensusOptions,
  RaftConsensusManager,
} from "./replication/wal/raft_consensus_manager.ts";
export {
  ReplicationWALManager,
  type ReplicationWALOptions,
} from "./replication/wal/replication_wal_manager.ts";
export {
  type ReplicationConfig,
  type ReplicationEvents,
  type ReplicationStatus,
  WALReplicationManager,
} from "./replication/wal/wal_replication_manager.ts";
export { FileWALManager, type FileWALManagerOptions } from "./storage/wal/file_wal_manager.ts";
export type {
  IWALManager,
  RecoveryReport,
  WALCheckpoint,
  WALEntry,
} from "./storage/wal/iwal_manager.ts";
export { MemoryWALManager } from "./storage/wal/memory_wal_manager.ts";
export { TransactionalAdapterFile } from "./transactions/file_storage_adapter.ts";
export type {
  ChangeRecord,
  ITransactionalResource,
  ITransactionalStorageAdapter,
} from "./transactions/itransactional_storage_adapter.ts";
export { TransactionalAdapterMemory } from "./transactions/memory_storage_adapter.ts";
export {
  type TransactionRecovery,
  WALTransactionManager,
  type WALTransactionManagerOptions,
} from "./transactions/wal_transaction_manager.ts";
export type { INetworkManager, NetworkMetrics } from "./transport/inetwork_manager.ts";
export { MessageQueue } from "./transport/message_queue.ts";
export { NetworkManager } from "./transport/network_manager.ts";
