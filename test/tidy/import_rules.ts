/**
 * Which way imports point: the matrix of docs/architecture.md section 3, packages, cycles and files
 * that nothing reaches.
 *
 * @module
 */

import {
  type Finding,
  folderOf,
  type Import,
  resolveImport,
  type SourceFile,
} from "./source_file.ts";

interface Row {
  /** Folders that it may import from, in any way; its own folder is always allowed. */
  readonly values: readonly string[];
  /** Folders that it may import only types from. */
  readonly types?: readonly string[];
  /** Single files that it may import, in any way, from a folder that is not in the row. */
  readonly files?: readonly string[];
  /** Packages that it may import; `undefined` is any. */
  readonly packages?: readonly string[];
}

/** The parts that decide multi-master. */
export const MASTER = ["multi_master", "multi_master/operation", "multi_master/document"];
const PROTOCOL = ["protocol/encoding", "protocol/operations", "protocol/wire"];
const CLIENT = ["client", "client/connection", "client/collection", "client/transaction"];
/** All that `node` wires together. */
const PARTS = [
  ...["base", "platform", "raft", ...MASTER, "query", ...PROTOCOL, "transport", "api"],
  ...["storage", "storage/operations", "storage/wal", "storage/repair"],
  ...["database", "database/collection"],
  ...["replication/raft", "replication/multi_master", "replication/wal", ...CLIENT],
  ...["transactions", "cluster", "server", "server/gateway", "auth"],
];

/**
 * Leaf folders under `src`, `""` for `src/mod.ts`, and the folders beside `src`. From the bottom
 * up: a row names rows above it only.
 */
const MATRIX: Readonly<Record<string, Row>> = {
  base: { values: [], packages: ["@logtape/logtape"] },
  platform: { values: ["base"] },
  raft: { values: ["base"], packages: [] },
  "multi_master/operation": { values: ["base"], packages: [] },
  "multi_master/document": { values: ["base", "multi_master/operation"], packages: [] },
  multi_master: {
    values: ["base", "multi_master/operation", "multi_master/document"],
    packages: [],
  },
  query: { values: ["base"], packages: [] },
  "protocol/encoding": {
    values: ["base"],
    types: ["raft", ...MASTER],
    packages: ["cbor-x/encode", "lossless-json", "xxhash-wasm"],
  },
  "protocol/operations": {
    values: ["base", "protocol/encoding"],
    types: MASTER,
    packages: [],
  },
  "protocol/wire": {
    values: ["base", "protocol/encoding", "protocol/operations"],
    types: ["raft", ...MASTER],
    packages: [],
  },
  storage: { values: ["base", "platform", "protocol/encoding"], types: ["raft"] },
  "storage/operations": {
    values: ["base", "platform", "protocol/encoding", "protocol/operations", "storage"],
    types: MASTER,
  },
  "storage/wal": {
    values: [
      ...["base", "platform", "protocol/encoding", "protocol/operations"],
      ...["storage", "storage/operations"],
    ],
    types: ["raft"],
  },
  "storage/repair": {
    values: ["base", "platform", "protocol/encoding", "storage", "storage/wal"],
    types: ["raft"],
  },
  transport: { values: ["base", "platform", "protocol/wire"], types: ["raft"] },
  "database/collection": {
    values: ["base", "query", "protocol/encoding"],
    types: [...MASTER],
  },
  database: {
    values: [
      ...["base", "query", "multi_master/operation", "protocol/encoding", "protocol/operations"],
      "database/collection",
    ],
    types: ["raft", ...MASTER, "protocol/wire"],
  },
  auth: { values: ["base", ...PROTOCOL] },
  api: { values: ["base"], types: ["query", ...PROTOCOL] },
  "replication/raft": {
    values: ["base", "platform", "protocol/encoding", "raft"],
    types: ["storage/wal"],
  },
  "replication/multi_master": {
    values: ["base", "platform", ...PROTOCOL, ...MASTER, "transport"],
    types: ["storage/wal"],
  },
  "replication/wal": {
    values: ["base", "platform", ...PROTOCOL, "raft", "replication/raft", "storage/wal"],
    types: ["transport", ...MASTER],
  },
  "client/connection": { values: ["base", "platform", ...PROTOCOL, "transport"], types: ["api"] },
  "client/collection": {
    values: ["base", "platform", "query", ...PROTOCOL, "api"],
    types: ["client/connection"],
  },
  "client/transaction": {
    values: ["base", "platform", "query", ...PROTOCOL, "api", "client/collection"],
    types: ["client/connection"],
  },
  client: {
    values: ["base", "platform", "query", ...PROTOCOL, "api", ...CLIENT.slice(1)],
  },
  transactions: {
    values: ["base", "platform", "protocol/encoding", "storage", "storage/wal"],
    types: ["api"],
  },
  cluster: {
    values: ["base", "platform", ...PROTOCOL, "raft", "storage", "client", "client/connection"],
    types: ["replication/raft", "database", "transport"],
  },
  server: {
    values: [
      ...["base", "platform", "multi_master/operation", ...PROTOCOL],
      ...["database", "database/collection", "auth"],
    ],
    types: ["raft", ...MASTER, "replication/raft", "replication/multi_master", "storage/wal"],
  },
  "server/gateway": {
    values: ["base", "platform", "protocol/wire"],
    types: ["transport"],
    files: ["src/server/request_gate.ts"],
  },
  "node/config": {
    values: ["base", "protocol/encoding", "protocol/wire", "cluster", "storage"],
    types: ["platform", ...MASTER],
  },
  "node/snapshots": { values: [...PARTS, "node/config"] },
  "node/masters": { values: [...PARTS, "node/config", "node/snapshots"] },
  "node/recovery": { values: [...PARTS, "node/config", "node/masters", "node/snapshots"] },
  node: { values: [...PARTS, "node/config", "node/masters", "node/snapshots", "node/recovery"] },
  "node/embedded": {
    values: [...PARTS, "node", "node/config", "node/snapshots", "node/recovery"],
  },
  "": { values: [...PARTS, "node", "node/config", "node/embedded", "node/snapshots"] },
  cli: {
    values: ["", "base", "platform", "protocol/encoding", "cli/commands", "cli/local"],
  },
  "cli/commands": {
    values: [
      ...["", "base", "platform", "protocol/encoding", "protocol/wire", "client"],
      ...["client/connection", "client/collection", "node", "node/config", "node/snapshots"],
      ...["node/recovery", "storage", "storage/wal", "storage/repair", "cluster", "database"],
      ...["cli", "cli/local", "cli/measure"],
    ],
  },
  "cli/local": { values: ["", "base", "platform"] },
  "cli/measure": {
    values: [
      ...["", "base", "platform", ...PROTOCOL, "cli/local"],
      ...["client", "client/connection", "client/collection"],
    ],
  },
  bench: { values: ["", ...PARTS, "node", "node/config", "cli/local", "cli/measure"] },
  "bench/micro": {
    values: ["", ...PARTS, "node", "node/config", "cli/local", "cli/measure"],
  },
  "bench/versus": {
    values: ["", ...PARTS, "node", "node/config", "cli/local", "cli/measure"],
  },
};

/** Imports that the matrix does not allow. */
export function checkMatrix(file: SourceFile): readonly Finding[] {
  const folder = folderOf(file.path);
  if (/^(test|scripts)\b/.test(folder)) return [];
  const row = MATRIX[folder];
  if (row === undefined) {
    return [{ path: file.path, line: 1, message: `folder "${folder}" is not in the matrix` }];
  }
  return file.imports.flatMap((one) => {
    const message = refusal(file.path, one, row);
    return message === undefined ? [] : [{ path: file.path, line: one.line, message }];
  });
}

function refusal(path: string, one: Import, row: Row): string | undefined {
  const target = resolveImport(path, one.specifier);
  const from = folderOf(path) || "src/mod.ts";
  if (target === undefined) {
    if (one.specifier.startsWith("node:")) return undefined; // The purity rule looks at these.
    if (row.packages === undefined || row.packages.includes(one.specifier)) return undefined;
    return `${from} may not import the package "${one.specifier}"`;
  }
  const to = folderOf(target);
  if (to === folderOf(path) || row.values.includes(to)) return undefined;
  if (row.files?.includes(target) === true) return undefined;
  if (row.types?.includes(to) === true) {
    return one.typeOnly ? undefined : `${from} may import only types from ${to}: use "import type"`;
  }
  return `${from} may not import ${target}`;
}

/** Specifiers that break on one of the runtimes, whatever the folder. */
export function checkSpecifiers(file: SourceFile): readonly Finding[] {
  return file.imports.flatMap(({ specifier, line }) => {
    if (specifier === "cbor-x" || /^cbor-x\/(?!encode$)/.test(specifier)) {
      return [{ path: file.path, line, message: `import "cbor-x/encode", not "${specifier}"` }];
    }
    const target = resolveImport(file.path, specifier);
    if (target === undefined || /\.(ts|json)$/.test(target)) return [];
    return [{ path: file.path, line, message: `"${specifier}" lacks its ".ts"` }];
  });
}

/** Which packages may be imported: the names in package.json. */
export interface Packages {
  readonly dependencies: ReadonlySet<string>;
  readonly devDependencies: ReadonlySet<string>;
}

/** Packages that package.json does not name, or that users of cstore would not have. */
export function checkPackages(file: SourceFile, packages: Packages): readonly Finding[] {
  const folder = folderOf(file.path);
  const mayUseDev = /^(bench|test|scripts)\b/.test(folder);
  return file.imports.flatMap(({ specifier, line }) => {
    if (/^(\.|node:|bun:)/.test(specifier)) return [];
    const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
    if (packages.dependencies.has(name)) return [];
    if (mayUseDev && packages.devDependencies.has(name)) return [];
    return [{ path: file.path, line, message: `"${name}" is not among the dependencies` }];
  });
}

/** Cycles of imports, types counted; each is reported once. */
export function checkCycles(files: readonly SourceFile[]): readonly Finding[] {
  const graph = new Map(files.map((file) => [file.path, targets(file)]));
  const done = new Set<string>();
  const findings: Finding[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start !== -1) {
      const circle = [...trail.slice(start), path].join(" -> ");
      findings.push({ path, line: 1, message: `imports itself in a circle: ${circle}` });
    }
    if (start !== -1 || done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return findings;
}

/** Files of `src` and `cli` that no entry point reaches, by any kind of import. */
export function checkDeadFiles(files: readonly SourceFile[]): readonly Finding[] {
  const graph = new Map(files.map((file) => [file.path, targets(file)]));
  const pending = [...graph.keys()].filter(isEntryPoint);
  const reached = new Set<string>(pending);
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    for (const target of graph.get(path) ?? []) {
      if (!reached.has(target)) pending.push(target);
      reached.add(target);
    }
  }
  const dead = files.filter((file) => !reached.has(file.path));
  return dead.map(({ path }) => ({ path, line: 1, message: "nothing imports this file" }));
}

function isEntryPoint(path: string): boolean {
  return /^(src\/mod\.ts$|cli\/main\.ts$|bench\/|test\/|scripts\/)/.test(path);
}

function targets(file: SourceFile): readonly string[] {
  return file.imports.flatMap((one) => {
    const target = resolveImport(file.path, one.specifier);
    return target === undefined ? [] : [target];
  });
}
