/**
 * Files of `src` that no test imports, by the suite that covers each by itself.
 *
 * @module
 */

/** Suite -> files that it covers by at least 80 % of their lines. */
export const SEAMS: Readonly<Record<string, readonly string[]>> = {
  "test/node/embedded/database_suite_test.ts": [
    "src/client/collection/catalog_client.ts",
    "src/client/collection/change_stream.ts",
    "src/client/collection/changed_document.ts",
    "src/client/collection/collection_rules.ts",
    "src/client/collection/collection_writer.ts",
    "src/client/collection/decoded_results.ts",
    "src/client/collection/query_client.ts",
    "src/client/collection/remote_collection.ts",
    "src/client/connection/node_channel.ts",
    "src/client/database_base.ts",
    "src/client/database_calls.ts",
    "src/client/transaction/global_transactions.ts",
    "src/client/transaction/routed_collection.ts",
    "src/client/transaction/transaction.ts",
    "src/client/transaction/transaction_collection.ts",
    "src/database/change_reader.ts",
    "src/database/collection/collection_index.ts",
    "src/database/collection/collection_indexes.ts",
    "src/database/collection/expiry_rule.ts",
    "src/database/collection/query_plan.ts",
    "src/database/expiry.ts",
    "src/database/operation_executor.ts",
    "src/database/plain_put.ts",
    "src/node/assemble.ts",
    "src/node/embedded/embedded_reads.ts",
    "src/node/housekeeping.ts",
    "src/node/node_status.ts",
    "src/platform/sockets.ts",
    "src/protocol/wire/error_message.ts",
    "src/replication/raft/driver_parts.ts",
    "src/replication/raft/logged_configurations.ts",
    "src/replication/raft/raft_config.ts",
    "src/replication/raft/request_queue.ts",
    "src/replication/raft/ticker.ts",
    "src/server/change_streams.ts",
    "src/server/gateway/native_gateway.ts",
    "src/server/gateway/reply_collector.ts",
    "src/server/request_gate.ts",
    "src/transport/peer_link.ts",
  ],
  "test/transactions/transaction_manager_test.ts": [
    "src/transactions/coordination_runner.ts",
    "src/transactions/file_storage_adapter.ts",
    "src/transactions/memory_storage_adapter.ts",
    "src/transactions/staged_changes.ts",
    "src/transactions/transaction_log.ts",
  ],
  "test/replication/wal/public_test.ts": [
    "src/replication/wal/entry_log_machine.ts",
    "src/replication/wal/raft_consensus_manager.ts",
    "src/replication/wal/wal_replication_manager.ts",
  ],
  "test/node/embedded/collection_settings_test.ts": [
    "src/client/collection/id_allocator.ts",
    "src/client/collection/validated_updates.ts",
    "src/client/collection/validator.ts",
  ],
  "test/node/cluster_test.ts": [
    "src/client/connection/leader_routing.ts",
    "src/cluster/handover.ts",
    "src/node/recovery/discarded_entries.ts",
    "src/server/request_handler.ts",
  ],
  "test/cluster/membership_test.ts": [
    "src/cluster/membership_changes.ts",
    "src/node/config/resolve_config.ts",
  ],
  "test/node/snapshots/snapshot_transfer_test.ts": [
    "src/node/snapshots/snapshot_receiver.ts",
    "src/node/snapshots/snapshot_sender.ts",
  ],
  "test/node/snapshots/archive_test.ts": [
    "src/node/snapshots/new_cluster.ts",
    "src/server/log_feed.ts",
  ],
  "test/multi_master/scenarios_test.ts": [
    "src/multi_master/config.ts",
    "src/multi_master/multi_master.ts",
    "src/multi_master/peer.ts",
    "src/multi_master/version_store.ts",
  ],
  "test/simulation/scenario_disks_test.ts": ["src/node/recovery/self_repair.ts"],
};
