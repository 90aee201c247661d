/**
 * Planted bugs: a checker that was never seen to fail proves nothing. Each is a change of source
 * text made while a module is loaded, so that the shipped code knows nothing of it. The text must
 * be there exactly once, or the plant has rotted and the run stops.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import type { Plant } from "./plant.ts";
import { LINE_PLANTS } from "./plants_lines.ts";
import { MULTI_MASTER_PLANTS } from "./plants_masters.ts";
import { LATER_PLANTS } from "./plants_members.ts";
import { MASTER_NODE_PLANTS } from "./plants_nodes.ts";

const FIRST_PLANTS: readonly Plant[] = [
  {
    name: "vote-not-persisted",
    about: "a vote is not in the record of the hard state (T3, S3)",
    file: "storage/wal/log_rebuild.ts",
    find: '.u64(hardState.term).text(hardState.vote ?? "")',
    replace: '.u64(hardState.term).text("")',
    scenario: "S3:",
  },
  {
    name: "old-term-commit",
    about: "entries of an older term are committed by counting (T13, S1)",
    file: "raft/leader.ts",
    find: "if (index <= log.committed || log.term(index) !== state.term) return;",
    replace: "if (index <= log.committed) return;",
    scenario: "S1:",
  },
  {
    name: "ack-before-sync",
    about: "promises leave before their Ready is on the disk (T4, T14)",
    file: "replication/raft/ready_runner.ts",
    find: "while (this.#persisting.length > 0 && this.#persisting[0]!.record <= throughRecord) {",
    replace: "void throughRecord; while (this.#persisting.length > 0) {",
  },
  {
    name: "conflict-not-truncated",
    about: "entries at known indexes are taken for known entries (T20, S6)",
    file: "raft/log.ts",
    find: "while (skipped < entries.length && this.matches(entries[skipped]!)) skipped += 1;",
    replace:
      "while (skipped < entries.length && entries[skipped]!.index <= this.lastIndex) skipped += 1;",
  },
  {
    name: "stale-read",
    about: "a linearizable read is served without asking a quorum (T38)",
    file: "server/request_handler.ts",
    find: "return this.#waitForBarrier(deadlineMs, { served, late });",
    replace: "return late === undefined ? undefined : served();",
  },
  {
    name: "read-unconfirmed",
    about: "the leader confirms reads by itself (S17)",
    file: "raft/read_index.ts",
    find: "id === state.id ? state.readRound : (state.progress.get(id)?.readRound ?? 0),",
    replace: "id === state.id ? state.readRound : state.readRound,",
    faults: ["sleepyLeader"],
  },
  {
    name: "read-before-own-term",
    about: "a new leader reads before an entry of its term is committed (S18)",
    file: "raft/read_index.ts",
    find: "if (!state.hasCommittedOwnTerm) {",
    replace: "if (state.term < 0) {",
  },
  {
    name: "session-entry-lost",
    about: "the result of a plain put is not kept: a repeat is executed again",
    file: "database/document_state_machine.ts",
    find: "sessions.storeWritten(put, sequence);",
    replace: "",
  },
  {
    name: "session-last-number-only",
    about: "lower request numbers than the last applied count as repeats",
    file: "database/session_table.ts",
    find: 'if (requestNumber < below) return { verdict: "acknowledged" };',
    replace:
      'if (requestNumber < below) return { verdict: "acknowledged" }; const last = Math.max(...session.numbers); if (requestNumber < last && !session.has(requestNumber)) return { verdict: "repeat", result: { kind: "written", version: session.versions[session.slot(last)]! } };',
    hasSmallLimits: true,
  },
  {
    name: "completion-by-index",
    about: "a sync completes entries that were truncated meanwhile (S7)",
    file: "raft/log.ts",
    find: "pending.lastIndex = Math.min(pending.lastIndex, fromIndex - 1);",
    replace: "void pending;",
  },
  {
    name: "version-from-index",
    about: "a document's version is the entry's index",
    file: "database/document_state_machine.ts",
    find: "results.written(ordinal, sequence);\n        at = end;",
    replace: "results.written(ordinal, header.index);\n        at = end;",
  },
  {
    name: "commit-unverified",
    about: "a follower commits up to the end of its own log (T18, S6)",
    file: "raft/follower.ts",
    find: "state.commitTo(Math.min(message.commitIndex, verified));",
    replace: "state.commitTo(Math.min(message.commitIndex, state.log.lastIndex));",
    scenario: "S6:",
  },
  {
    name: "vote-twice",
    about: "a second candidate of the term gets a vote, too",
    file: "raft/election.ts",
    find: "state.vote === request.from || (state.vote === undefined && state.leader === undefined);",
    replace: "state.vote !== null;",
    scenario: "S3:",
  },
  {
    name: "log-length-only",
    about: "a longer log of an older term counts as up to date (T2)",
    file: "raft/election.ts",
    find: "if (candidate.term !== own.term) return candidate.term > own.term;",
    replace: "",
    faults: ["divergentTail"],
  },
  {
    name: "any-log-elected",
    about: "a vote is given whatever the candidate's log holds",
    file: "raft/election.ts",
    find: "return candidate.index >= own.index;",
    replace: "return candidate.index >= 0;",
  },
  {
    name: "sync-covers-later-writes",
    about: "a sync counts for what was written after it was issued",
    file: "storage/wal/group_commit.ts",
    find: "this.#target.synced(through);",
    replace: "this.#target.synced(this.#target.lastRecord());",
    scenario: "S21:",
  },
  {
    name: "segment-folder-not-synced",
    about: "a new segment's name is not made durable",
    file: "storage/wal/segment_writer.ts",
    find: "if (isDirectoryDirty)",
    replace: "if (isDirectoryDirty && this.#isClosed)",
  },
  {
    name: "late-heartbeat-confirms",
    about: "any heartbeat answer confirms all reads (S17)",
    file: "raft/leader.ts",
    find: "progress.readRound = Math.max(progress.readRound, message.readRound);",
    replace: "progress.readRound = state.readRound;",
    faults: ["sleepyLeader"],
  },
  {
    name: "sessions-not-in-snapshot",
    about: "a restored node has forgotten the sessions",
    file: "database/snapshot_codec.ts",
    find: "this.#machine.sessions.restore(this.#sessions.written());",
    replace: "",
  },
  {
    name: "head-records-missing",
    about: "new segments do not repeat term and vote",
    file: "storage/wal/log_rebuild.ts",
    find: "if (hardState.term > 0) records.push",
    replace: "if (hardState.term < 0) records.push",
  },
  {
    name: "term-not-adopted",
    about: "a higher term in an answer does not depose the leader (T5)",
    file: "raft/raft.ts",
    find: "state.becomeFollower(message.term, isFromLeader ? message.from : undefined);",
    replace:
      'if (!isFromLeader && state.role === "leader") return false; state.becomeFollower(message.term, isFromLeader ? message.from : undefined);',
    faults: ["promoteCut", "promoteTwice"],
  },
  {
    name: "partial-request",
    about: "ifVersion is not checked",
    file: "database/operation_executor.ts",
    find: "if (ifVersion !== undefined && ifVersion !== version) {",
    replace: "if (ifVersion !== undefined && ifVersion > version) {",
  },
  {
    name: "wiped-node-admitted",
    about: "a folder that was wiped may vote under the old id",
    file: "cluster/bindings.ts",
    find: 'return incarnation === "" || incarnation === hello.incarnation;',
    replace: "return incarnation !== undefined;",
    scenario: "identity:",
  },
];

/** All of them. */
export const PLANTS: readonly Plant[] = [
  ...FIRST_PLANTS,
  ...LATER_PLANTS,
  ...LINE_PLANTS,
  ...MULTI_MASTER_PLANTS,
  ...MASTER_NODE_PLANTS,
];

/** The plant of that name. */
export function plantNamed(name: string): Plant {
  const plant = PLANTS.find((candidate) => candidate.name === name);
  if (plant === undefined) throw new RangeError(`no planted bug is called "${name}"`);
  return plant;
}

/** Makes the loader change the plant's file, and its limits if it needs small ones. */
export function sow(plant: Plant): void {
  change(plant.name, [plant]);
}

/** A change of one place in a file below src. */
export interface Change {
  readonly file: string;
  readonly find: string | RegExp;
  readonly replace: string;
}

const changes: { readonly owner: string; readonly change: Change }[] = [];

/** To be called before the files are imported for the first time; several calls add up. */
export function change(owner: string, more: readonly Change[]): void {
  for (const one of more) changes.push({ owner, change: one });
  const files = new Set(more.map(({ file }) => file));
  for (const file of files) {
    const contents = changed(file);
    const filter = new RegExp(`/src/${file.replace(/[.]/g, "\\.")}$`);
    Bun.plugin({
      name: `${owner}: ${file}`,
      setup: (build) => void build.onLoad({ filter }, () => ({ contents, loader: "ts" })),
    });
  }
}

function changed(file: string): string {
  const path = new URL(`../../src/${file}`, import.meta.url).pathname;
  let text = readFileSync(path, "utf8");
  for (const { owner, change } of changes) {
    if (change.file !== file) continue;
    const count = text.split(change.find).length - 1;
    if (count !== 1) throw new Error(`the text of "${owner}" stands ${count} times in ${file}`);
    text = text.replace(change.find, () => change.replace);
  }
  return text;
}

/** Names of the plants whose text is not in their file exactly once any more. */
export function rotten(): readonly string[] {
  return PLANTS.filter(({ file, find }) => {
    const text = readFileSync(new URL(`../../src/${file}`, import.meta.url), "utf8");
    return text.split(find).length !== 2;
  }).map(({ name }) => name);
}
