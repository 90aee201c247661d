/**
 * All micro benchmarks: `npm run bench -- --only "log append"`, or each file by itself.
 *
 * @module
 */

import { CODEC_BENCH } from "./codec_bench.ts";
import { CONNECT_BENCH } from "./connect_bench.ts";
import { MESSAGE_LATENCY_BENCH } from "./message_latency_bench.ts";
import { runMicro } from "./micro_runner.ts";
import { MULTI_MASTER_BENCH } from "./multi_master_bench.ts";
import { RAFT_BENCH } from "./raft_bench.ts";
import { WAL_BENCH } from "./wal_bench.ts";

await runMicro([
  WAL_BENCH,
  CODEC_BENCH,
  RAFT_BENCH,
  MULTI_MASTER_BENCH,
  MESSAGE_LATENCY_BENCH,
  CONNECT_BENCH,
]);
