/**
 * How the commands about data are declared.
 *
 * @module
 */

import { ADDRESS, type CommandSpec, JSON_FLAG, TIMEOUT } from "./command_spec.ts";

const READ = [
  "--read <level>",
  "linearizable, leader or stale (default: as fresh as the mode allows)",
] as const;
const ERRORS = ["--json", "Errors as JSON on stdout, too"] as const;

const DOC: CommandSpec = {
  usage: "doc <action> <collection> [...rest]",
  about:
    "Work with documents: insert|put DOC, get|remove ID (number:5 for a number), update ID CHANGE, find|count|explain [QUERY], update-many QUERY CHANGE, remove-many QUERY",
  options: [
    ADDRESS,
    TIMEOUT,
    ["--if-version <n>", "Write only if the document has this version (0: does not exist)"],
    ["--with-version", "get: print the version, too"],
    ["--sort <paths>", "find: like age,-name"],
    ["--collation <n>", "find: sort texts by letters (1), and accents (2), and case (3)"],
    ["--skip <n>", "find: leave out the first n"],
    ["--limit <n>", "find: print n at most"],
    ["--fields <paths>", "find: print only these, like name,address.city"],
    ["--hint <index>", "find, explain: use this index"],
    READ,
    ERRORS,
  ],
  examples: [
    `cstore doc insert users '{"id":"u1","name":"Ada"}'`,
    "cstore doc get users u1",
    `cstore doc update users u1 '{"$inc":{"age":1}}'`,
    `cstore doc find users '{"age":{"$gte":18}}' --sort -age --limit 10`,
    `cstore doc update-many users '{"age":{"$lt":18}}' '{"$set":{"minor":true}}'`,
    "cstore doc remove users u1",
  ],
  run: async (words, options) => (await import("./commands/doc_command.ts")).runDoc(words, options),
};

const COLLECTION: CommandSpec = {
  usage: "collection <action> [name]",
  about: "Collections: list, show NAME, create NAME, drop NAME",
  options: [
    ADDRESS,
    TIMEOUT,
    ["--mode <mode>", "create: written by the leader (master-slave) or every node (multi-master)"],
    [
      "--conflict <strategy>",
      "create, multi-master: last-write-wins, field-merge, counter, set, max, min, siblings, node-priority or custom",
    ],
    ["--removal <rule>", "create, multi-master: update-wins, remove-wins or as-written"],
    ["--priorities <ids>", "create, with node-priority: node ids, the strongest first"],
    ["--resolver <name>", "create, with custom: the resolver's name"],
    ["--ids <source>", "create: uuidv7 or autoIncrement (default uuidv7)"],
    ["--validator <name>", "create: the validator that documents must have passed"],
    JSON_FLAG,
  ],
  examples: [
    "cstore collection create stock --mode multi-master --conflict counter",
    "cstore collection list",
  ],
  run: async (words, options) =>
    (await import("./commands/collection_command.ts")).runCollection(words, options),
};

const CONFLICTS: CommandSpec = {
  usage: "conflicts <action> <collection> [id]",
  about:
    "Documents that nodes changed without knowing of each other: list, stats, show ID, resolve ID",
  options: [
    ADDRESS,
    TIMEOUT,
    ["--limit <n>", "list: so many documents at most (default 100)"],
    ["--document <json>", "resolve: the document that is to count"],
    ["--from <node>", "resolve: the version that this node wrote"],
    JSON_FLAG,
  ],
  examples: ["cstore conflicts list orders", "cstore conflicts resolve orders o1 --from n2"],
  run: async (words, options) =>
    (await import("./commands/conflicts_command.ts")).runConflicts(words, options),
};

const INDEX: CommandSpec = {
  usage: "index <action> <collection> [name]",
  about: "Indexes of a collection: list, create NAME, drop NAME",
  options: [
    ADDRESS,
    TIMEOUT,
    ["--keys <paths>", "create: like name or city,-age"],
    ["--unique", "create: refuse a second document with the same values"],
    ["--sparse", "create: leave out documents that have none of the paths"],
    ["--ignore-case", "create: texts count in lower case"],
    ["--collation <n>", "create: texts count by letters (1), and accents (2), and case (3)"],
    ["--where <query>", "create: only documents that match"],
    ["--expire-after <time>", "create: remove documents so long after the date, like 1h"],
    JSON_FLAG,
  ],
  examples: [
    "cstore index create users email --keys email --unique",
    "cstore index list users",
    "cstore index drop users email",
  ],
  run: async (words, options) =>
    (await import("./commands/data_command.ts")).runIndex(words, options),
};

const WATCH: CommandSpec = {
  usage: "watch [collection]",
  about: "Print every change as it happens, one JSON object a line, until Ctrl-C",
  options: [
    ADDRESS,
    TIMEOUT,
    ["--since <n>", "Begin behind this sequence number (default: now)"],
    ["--count <n>", "End after n changes"],
    ERRORS,
  ],
  examples: ["cstore watch", "cstore watch users --since 1042"],
  run: async (words, options) =>
    (await import("./commands/data_command.ts")).runWatch(words, options),
};

const IMPORT: CommandSpec = {
  usage: "import <collection> <file>",
  about:
    "Put the documents of a file into a collection: a JSON object a line, a JSON array, or CSV or TSV with a header; - reads stdin",
  options: [
    ADDRESS,
    TIMEOUT,
    ["--insert", "Refuse documents that exist (default: replace them)"],
    ["--id-field <name>", "The field with the ids (default id)"],
    ["--from-line <n>", "Begin at this line or item: where an import stopped"],
    ["--format <format>", "json, csv or tsv (default: by the file's name and its first line)"],
    ERRORS,
  ],
  examples: ["cstore import users users.ndjson", "cstore export users - | cstore import copy -"],
  run: async (words, options) =>
    (await import("./commands/import_command.ts")).runImport(words, options),
};

const EXPORT: CommandSpec = {
  usage: "export <collection> [file]",
  about:
    "Write a collection, as it is at one moment, one JSON object a line, or as CSV or TSV; - or none is stdout",
  options: [
    ADDRESS,
    TIMEOUT,
    ["--query <query>", "Only documents that match"],
    ["--format <format>", "json, csv or tsv (default: by the file's name, else json)"],
    ["--fields <paths>", "With csv and tsv: these columns, like id,address.city (default: all)"],
    ["--force", "Replace the file if it exists"],
    ["--resume", "In order of ids, behind the last line of a file that was begun so"],
    ["--id-field <name>", "With --resume: the field with the ids (default id)"],
    READ,
    ERRORS,
  ],
  examples: [
    "cstore export users users.ndjson",
    "cstore export users users.csv --format csv --fields id,name",
    `cstore export users --query '{"age":{"$gt":60}}'`,
  ],
  run: async (words, options) =>
    (await import("./commands/export_command.ts")).runExport(words, options),
};

const BACKUP: CommandSpec = {
  usage: "backup <file>",
  about: "Write the whole state, as it is at one entry of the log, to a file and verify it",
  options: [ADDRESS, TIMEOUT, ["--verify", "Only verify the file that is there"], JSON_FLAG],
  examples: ["cstore backup monday.cstore", "cstore backup --verify monday.cstore"],
  run: async (words, options) =>
    (await import("./commands/backup_command.ts")).runBackup(words, options),
};

const ARCHIVE: CommandSpec = {
  usage: "archive <dir>",
  about:
    "Copy the log behind a backup to a folder as it grows, until Ctrl-C; goes on where it ended",
  options: [
    ADDRESS,
    TIMEOUT,
    [
      "--after <backup>",
      "The first time: begin behind this backup; later it must be in the archive",
    ],
    ["--once", "End when everything that is committed now is there"],
    JSON_FLAG,
  ],
  examples: ["cstore archive /mnt/log --after monday.cstore", "cstore archive /mnt/log --once"],
  run: async (words, options) =>
    (await import("./commands/archive_command.ts")).runArchive(words, options),
};

const RESTORE: CommandSpec = {
  usage: "restore <file>",
  about: "Make an empty folder the first node of a new cluster that begins with a backup",
  options: [
    ["--archive <dir>", "Go on with the log that `cstore archive` has copied there"],
    ["--until <time>", "With --archive: leave out what came later, like 2026-11-22T10:15:00Z"],
    ["--until-entry <n>", "With --archive: leave out what stands behind this entry"],
    ["--id <name>", "The node's id (default n1)"],
    ["--address <address>", "HOST:PORT under which the others will reach it (needed)"],
    ["--data <dir>", "Its folder (default ./cstore-data)"],
    JSON_FLAG,
  ],
  examples: [
    "cstore restore monday.cstore --address 10.0.0.1:7001 --data /var/lib/cstore",
    "cstore restore monday.cstore --archive /mnt/log --until 2026-11-22T10:15:00Z --address 10.0.0.1:7001",
  ],
  run: async (words, options) =>
    (await import("./commands/backup_command.ts")).runRestore(words, options),
};

const SHELL: CommandSpec = {
  usage: "shell",
  about: "Type expressions on a database, such as db.users.find({age: {$gt: 30}})",
  options: [
    ADDRESS,
    TIMEOUT,
    ["--eval <expression>", "Evaluate this, print it, and end"],
    ["--file <file>", "Run the statements of a file; what it returns is printed"],
    ERRORS,
  ],
  examples: ["cstore shell", `cstore shell --eval 'db.users.count()'`],
  run: async (words, options) =>
    (await import("./commands/shell_command.ts")).runShell(words, options),
};

/** In the order of the overview. */
export const DATA_COMMANDS: readonly CommandSpec[] = [
  ...[DOC, COLLECTION, CONFLICTS, INDEX, WATCH, IMPORT, EXPORT],
  ...[SHELL, BACKUP, ARCHIVE, RESTORE],
];
