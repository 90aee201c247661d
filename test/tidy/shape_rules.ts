/**
 * Rules about the shape of the whole: closed types behind the decoders, errors that are not read by
 * their messages, sizes of folders and long files, and how many assertions each folder has.
 *
 * @module
 */

import { countAssertions } from "../../scripts/mutation/mutants.ts";
import { findFunctions } from "./function_rules.ts";
import { type Finding, folderOf, type SourceFile } from "./source_file.ts";

const FOLDER_FILES_MAX = 16;
const LONG_FILE_LINES = 400;

/** Files of `src` above {@link LONG_FILE_LINES} lines, each with the reason why it is one file. */
export const LONG_FILES: Readonly<Record<string, string>> = {
  "src/replication/raft/raft_driver.ts":
    "the order of one turn; what can be apart from it (queue, proposals, reads, timers, disk) is",
  "src/storage/wal/segment_log.ts":
    "one log behind two interfaces, the users' and consensus'; writing, reading and opening are apart",
  "src/client/transaction/transaction_collection.ts":
    "one call a method, as the interface lists them; rules, queries and bulk writes are apart",
  "src/client/connection/client.ts":
    "one session over many nodes; channels, routing, retries and pending requests are apart",
  "src/database/document_state_machine.ts":
    "every kind of command in one order of application; operations, sessions, catalog are apart",
  "src/node/masters/master_part.ts":
    "one node's part from its begin to its end; disk, transfers, core, shown documents are apart",
  "src/multi_master/document/documents.ts":
    "what writes, operations and floors make of documents; versions and parts are apart",
  "src/multi_master/multi_master.ts":
    "every input of one node and what it leads to; intake, sending, documents, clock are apart",
  "src/protocol/encoding/command.ts":
    "one format: its table, writers, cursor and gate must agree byte for byte",
  "src/cluster/membership_changes.ts":
    "one change at a time: every change shares its checks, its wait and its answer",
  "src/raft/raft_state.ts": "every count and wait of one node, and what changes them together",
  "src/raft/raft.ts": "inputs and outputs of one node; the roles, the log and the counts are apart",
  "src/raft/leader.ts": "everything that only a leader does, in the order of the paper",
  "src/base/errors.ts": "every error class once, with its code, retry rule and remedy",
  "src/client/collection/remote_collection.ts":
    "the calls of one interface; writing, queries and rules of documents are apart",
  "src/transactions/wal_transaction_manager.ts":
    "the public calls of two-phase commit; decisions, log and runner are apart",
  "src/transport/network_manager.ts": "both directions of all links; a link and a frame are apart",
  "src/database/collection/document_slab.ts":
    "the layout of a record: writing, reading, freezing and moving all rest on it",
};

/**
 * Assertions that relate two values, by folder. A number only rises: raise it with the code, so
 * that nobody takes assertions away unseen.
 */
export const ASSERTIONS_MIN: Readonly<Record<string, number>> = {
  "src/raft": 176,
  "src/storage": 303,
  "src/protocol": 162,
};
/** Folders with at least one assertion for each named function, on average. */
const ASSERTED = new Set(["src/raft", "src/storage", "src/protocol"]);

/** Maps of unknown fields and casts that no compiler checks, behind the decoders. */
export function checkClosedTypes(file: SourceFile): readonly Finding[] {
  const isChecked =
    /^(?:src|cli|bench)\//.test(file.path) && !file.path.startsWith("src/protocol/");
  if (!isChecked) return [];
  const texts = file.code.map(({ text }) => text);
  return file.code.flatMap(({ line }, at) => {
    const [a, b, c, d, e, f] = texts.slice(at, at + 6);
    if (a === "as" && b === "unknown" && c === "as") {
      return [{ path: file.path, line, message: "`as unknown as` belongs in a decoder" }];
    }
    const isMap = a === "Record" && b === "<" && c === "string" && d === "," && e === "unknown";
    if (!isMap || f !== ">") return [];
    const message = "a map of unknown fields belongs in a decoder: use a closed type";
    return [{ path: file.path, line, message }];
  });
}

const READERS = new Set(
  "includes match matchAll startsWith endsWith indexOf lastIndexOf search".split(" "),
);

/** Decisions made from the text of an error: its code and its fields say what a program needs. */
export function checkErrorMessages(file: SourceFile): readonly Finding[] {
  if (!/^(?:src|cli|bench)\//.test(file.path)) return [];
  const texts = file.code.map(({ text }) => text);
  return file.code.flatMap(({ text, line }, at) => {
    const isMember = text === "message" && /^\??\.$/.test(texts[at - 1] ?? "");
    if (!isMember) return [];
    const [dot, reader] = texts.slice(at + 1, at + 3);
    const isRead = /^\??\.$/.test(dot ?? "") && READERS.has(reader ?? "");
    const isCompared = dot === "===" || dot === "!==" || texts[at - 3] === "===";
    const isTested = texts[at - 3] === "(" && /^(?:test|exec)$/.test(texts[at - 4] ?? "");
    if (!isRead && !isCompared && !isTested) return [];
    return [{ path: file.path, line, message: "an error's message is not read: use its code" }];
  });
}

/** Leaf folders of `src` with too many files. */
export function checkFolderSizes(files: readonly SourceFile[]): readonly Finding[] {
  const counts = new Map<string, number>();
  for (const { path } of files) {
    if (path.startsWith("src/")) counts.set(folderOf(path), (counts.get(folderOf(path)) ?? 0) + 1);
  }
  return [...counts].flatMap(([folder, count]) => {
    if (count <= FOLDER_FILES_MAX) return [];
    const message = `${count} files; a leaf folder has at most ${FOLDER_FILES_MAX}`;
    return [{ path: `src/${folder}`, line: 1, message }];
  });
}

/** Long files that are not listed, and listed ones that are long no more. */
export function checkLongFiles(
  files: readonly SourceFile[],
  listed: Readonly<Record<string, string>> = LONG_FILES,
): readonly Finding[] {
  const long = files.filter(({ path, text }) => {
    return path.startsWith("src/") && text.split("\n").length - 1 > LONG_FILE_LINES;
  });
  const found = long.flatMap(({ path }): Finding[] => {
    if ((listed[path] ?? "").length > 20) return [];
    return [
      { path, line: 1, message: `more than ${LONG_FILE_LINES} lines, and no reason is listed` },
    ];
  });
  const stale = Object.keys(listed).filter((path) => !long.some((file) => file.path === path));
  return [
    ...found,
    ...stale.map((path) => ({ path, line: 1, message: "is listed, and not long" })),
  ];
}

/** Folders that have lost assertions, or have fewer than functions. */
export function checkAssertions(files: readonly SourceFile[]): readonly Finding[] {
  return Object.entries(ASSERTIONS_MIN).flatMap(([folder, min]): Finding[] => {
    const sources = files.filter(({ path }) => path.startsWith(`${folder}/`));
    const count = sources.reduce((sum, { text }) => sum + countAssertions(text), 0);
    const functions = sources.reduce((sum, { code }) => {
      return sum + findFunctions(code).filter(({ name }) => name !== "a function").length;
    }, 0);
    const needed = ASSERTED.has(folder) ? Math.max(min, functions) : min;
    if (count >= needed) return [];
    const message = `${count} assertions that relate two values, ${functions} named functions; ${needed} are needed`;
    return [{ path: folder, line: 1, message }];
  });
}
