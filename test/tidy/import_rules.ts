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
  /** Folders it may import from, in any way. */
  readonly values: readonly string[];
  /** Folders it may import only types from. */
  readonly types: readonly string[];
  /** Packages it may import; `undefined` is any. */
  readonly packages?: readonly string[];
}

const EVERYTHING = [
  "base",
  "platform",
  "raft",
  "multi_master",
  "query",
  "protocol",
  "storage",
  "transport",
  "database",
  "replication",
  "cluster",
  "client",
];

/** A folder under `src`, the files directly in `src` (""), and the folders beside it. */
const MATRIX: Readonly<Record<string, Row>> = {
  base: { values: [], types: [], packages: ["@logtape/logtape"] },
  platform: { values: ["base"], types: [] },
  raft: { values: ["base"], types: [], packages: [] },
  multi_master: { values: ["base", "query"], types: [], packages: [] },
  query: { values: ["base"], types: [], packages: [] },
  protocol: {
    values: ["base"],
    types: ["raft", "multi_master"],
    packages: ["cbor-x/encode", "xxhash-wasm"],
  },
  storage: { values: ["base", "platform", "protocol"], types: ["raft"] },
  transport: { values: ["base", "platform", "protocol"], types: ["raft"] },
  database: { values: ["base", "protocol", "query", "storage"], types: ["platform", "raft"] },
  replication: {
    values: ["base", "platform", "protocol", "raft", "multi_master", "storage", "transport"],
    types: [],
  },
  cluster: {
    values: ["base", "platform", "protocol", "transport", "replication"],
    types: ["raft"],
  },
  client: { values: ["base", "platform", "protocol", "query", "transport"], types: [] },
  node: { values: EVERYTHING, types: [] },
  "": { values: [...EVERYTHING, "node"], types: [] },
  cli: {
    values: ["", "base", "platform", "protocol", "node", "client", "storage", "bench"],
    types: [],
  },
  bench: { values: ["", ...EVERYTHING, "node"], types: [] },
};

/** Imports that the matrix does not allow. */
export function checkMatrix(file: SourceFile): readonly Finding[] {
  const folder = folderOf(file.path);
  if (folder === "test" || folder === "scripts") return [];
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
  if (row.types.includes(to)) {
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
  const mayUseDev = ["bench", "test", "scripts"].includes(folder);
  return file.imports.flatMap(({ specifier, line }) => {
    if (/^(\.|node:|bun:)/.test(specifier)) return [];
    const name = specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
    if (packages.dependencies.has(name)) return [];
    if (mayUseDev && packages.devDependencies.has(name)) return [];
    return [{ path: file.path, line, message: `"${name}" is not among the dependencies` }];
  });
}

/** Cycles of imports that are left when the types are stripped; each is reported once. */
export function checkCycles(files: readonly SourceFile[]): readonly Finding[] {
  const graph = new Map(files.map((file) => [file.path, targets(file, true)]));
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
  const graph = new Map(files.map((file) => [file.path, targets(file, false)]));
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

function targets(file: SourceFile, valuesOnly: boolean): readonly string[] {
  return file.imports.flatMap((one) => {
    if (valuesOnly && one.typeOnly) return [];
    const target = resolveImport(file.path, one.specifier);
    return target === undefined ? [] : [target];
  });
}
