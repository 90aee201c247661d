/**
 * cstore: a replicated document store.
 *
 * @module
 */

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
  NotFoundError,
  NotLeaderError,
  OverloadedError,
  ProtocolError,
  QueryError,
  type RetryRule,
  SessionExpiredError,
  StorageError,
  TransactionConflictError,
  TransactionTimeoutError,
  UncheckedError,
  UnknownOutcomeError,
  UnreachableError,
  ValidationError,
  VersionConflictError,
} from "./base/errors.ts";
export { VERSION } from "./base/version.ts";
export type { Change as DocumentChange, WatchOptions } from "./client/change_stream.ts";
export { Client } from "./client/client.ts";
export type { ClientOptions } from "./client/client_options.ts";
export type {
  Change,
  ChangeOptions,
  Collection,
  CollectionOptions,
  CollectionSettingsOptions,
  Condition,
  Database,
  Explanation,
  FieldQuery,
  FindOptions,
  IndexInfo,
  IndexOptions,
  Item,
  NewDocument,
  Query,
  RangeBounds,
  UpdateResult,
  Versioned,
  WriteOptions,
} from "./client/database.ts";
export { type ConnectOptions, connect, RemoteDatabase } from "./client/remote_database.ts";
export type { Transaction, TransactionOptions } from "./client/transaction.ts";
export type { TransactionCollection } from "./client/transaction_collection.ts";
export type {
  Validator,
  ValidatorIssue,
  ValidatorResult,
  Validators,
} from "./client/validator.ts";
export type {
  ChangeRecord,
  ITransactionalResource,
  ITransactionalStorageAdapter,
} from "./database/itransactional_storage_adapter.ts";
export type { BackupReport } from "./node/backup.ts";
export { type NodeConfig, type NodeOptions, parseNodeConfig } from "./node/config.ts";
export { TransactionalAdapterFile } from "./node/file_storage_adapter.ts";
export { TransactionalAdapterMemory } from "./node/memory_storage_adapter.ts";
export { Node } from "./node/node.ts";
export {
  type ClusterConfig,
  type ReplicatedDatabaseConfig,
  ReplicatedWALDatabase,
  type ReplicationConfig,
} from "./node/replicated_wal_database.ts";
export type { NodeStatus } from "./node/status.ts";
export { WALCollection, type WALCollectionConfig } from "./node/wal_collection.ts";
export { WALDatabase, type WALDatabaseConfig } from "./node/wal_database.ts";
export {
  type TransactionRecovery,
  WALTransactionManager,
  type WALTransactionManagerOptions,
} from "./node/wal_transaction_manager.ts";
export type { CollectionSettings } from "./protocol/collection_settings.ts";
export { type ReplicationMessage, ReplicationProtocol } from "./protocol/replication_message.ts";
export type {
  AppendAnswer,
  AppendQuestion,
  ConsensusManager,
  ConsensusRole,
  VoteAnswer,
  VoteQuestion,
} from "./replication/consensus_manager.ts";
export {
  type ConsensusOptions,
  RaftConsensusManager,
} from "./replication/raft_consensus_manager.ts";
export {
  ReplicationWALManager,
  type ReplicationWALOptions,
} from "./replication/replication_wal_manager.ts";
export {
  type ReplicationEvents,
  type ReplicationStatus,
  WALReplicationManager,
} from "./replication/wal_replication_manager.ts";
export { FileWALManager } from "./storage/file_wal_manager.ts";
export type {
  IWALManager,
  RecoveryReport,
  WALCheckpoint,
  WALEntry,
} from "./storage/iwal_manager.ts";
export { MemoryWALManager } from "./storage/memory_wal_manager.ts";
export type { INetworkManager, NetworkMetrics } from "./transport/inetwork_manager.ts";
export { MessageQueue } from "./transport/message_queue.ts";
export { NetworkManager } from "./transport/network_manager.ts";
