/**
 * Tests the tests: makes small faults in the sources of a folder, one at a time, and runs its tests
 * on each. `bun scripts/mutate.ts [--folder src/raft,...] [--sample N] [--seed S] [--workers N]
 * [--asserts] [--json]`. A fault that no test notices survives and is named as file:line;
 * `scripts/mutation/equivalents.json` lists those that change nothing, each with the reason. With
 * `--asserts` the faults are assertions whose condition is turned round.
 *
 * @module
 */

import { spawn } from "node:child_process";
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import {
  parseSource,
  readProject,
  resolveImport,
  type SourceFile,
} from "../test/tidy/source_file.ts";
import { type Mutant, mutantsOf, negatedAssertions } from "./mutation/mutants.ts";
import { ROOT, tool } from "./run.ts";
import { draw } from "./sample.ts";

/** Suites that notice faults of a folder, behind the tests that import the file itself. */
const SUITES: Readonly<Record<string, readonly string[]>> = {
  "src/query": ["test/query", "test/database"],
  // The fast ones first: the random runs take more time than all others together.
  "src/raft": [
    "test/raft/leader_test.ts",
    "test/raft/raft_state_test.ts",
    "test/raft/raft_test.ts",
    "test/raft/traps_test.ts",
    "test/raft/paper_test.ts",
    "test/raft/paper_members_test.ts",
    "test/raft/regression_test.ts",
    "test/raft/scenarios_test.ts",
    "test/raft/interaction_test.ts",
    "test/raft",
    "test/simulation/scenario_core_test.ts",
  ],
  "src/storage": [
    "test/storage/wal",
    "test/storage/snapshot_store_test.ts",
    "test/storage/snapshot_files_test.ts",
    "test/storage/repair",
    "test/storage/data_directory_test.ts",
    "test/storage/crash_test.ts",
  ],
  "src/protocol": ["test/protocol", "test/compatibility/frames_test.ts", "test/database"],
};
/** A run that takes longer hangs, which is a fault that was noticed. */
const RUN_MS_MAX = 150_000;

interface Equivalent {
  readonly file: string;
  /** The source line, without the spaces around it. */
  readonly source: string;
  readonly original: string;
  readonly replacement: string;
  readonly reason: string;
}

interface Verdict {
  readonly mutant: Mutant;
  readonly outcome: "killed" | "survived" | "equivalent";
}

const USAGE = `Usage: bun scripts/mutate.ts [--folder src/query,src/raft,src/storage,src/protocol]
                             [--sample 300] [--seed 1] [--workers 2] [--asserts] [--json]`;

const { values } = parseArgs({
  options: {
    folder: { type: "string", default: Object.keys(SUITES).join(",") },
    sample: { type: "string", default: "300" },
    seed: { type: "string", default: "1" },
    workers: { type: "string", default: "2" },
    file: { type: "string" },
    asserts: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}

const equivalents: readonly Equivalent[] = JSON.parse(
  readFileSync(join(ROOT, "scripts/mutation/equivalents.json"), "utf8"),
);
const project = readProject();
const tests = project.filter(({ path }) => path.endsWith("_test.ts"));
let failed = false;
for (const folder of values.folder.split(",")) {
  const verdicts = await judgeFolder(folder);
  report(folder, verdicts);
}
process.exitCode = failed ? 1 : 0;

async function judgeFolder(folder: string): Promise<readonly Verdict[]> {
  const sources = project.filter(({ path }) => {
    return path.startsWith(`${folder}/`) && (values.file === undefined || path === values.file);
  });
  const make = values.asserts ? negatedAssertions : mutantsOf;
  const all = sources.flatMap(({ path, text }) => [...make(path, text)]);
  const sample = draw(all, Number(values.sample), Number(values.seed));
  const queue = [...sample];
  const verdicts: Verdict[] = [];
  const work = async (): Promise<void> => {
    const copy = copyOfProject();
    try {
      for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift()) {
        const outcome = isEquivalent(mutant) ? "equivalent" : await judge(copy, folder, mutant);
        verdicts.push({ mutant, outcome });
        if (!values.json) progress(verdicts, sample.length);
      }
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  };
  await Promise.all(Array.from({ length: Number(values.workers) }, work));
  // A mistyped folder or no worker would pass with a score of nothing.
  if (verdicts.length === 0) throw new RangeError(`no fault was made in ${folder}`);
  return verdicts;
}

function copyOfProject(): string {
  const copy = mkdtempSync(join(tmpdir(), "cstore-mutants-"));
  for (const name of readdirSync(ROOT)) {
    if (["node_modules", ".git", "dist"].includes(name)) continue;
    cpSync(join(ROOT, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  return copy;
}

async function judge(copy: string, folder: string, mutant: Mutant): Promise<"killed" | "survived"> {
  const path = join(copy, mutant.file);
  const source = readFileSync(path, "utf8");
  const { start, end, replacement } = mutant;
  writeFileSync(path, source.slice(0, start) + replacement + source.slice(end));
  try {
    for (const own of testsOf(mutant.file, folder)) {
      if (!(await passes(copy, own))) return "killed";
    }
    for (const suite of SUITES[folder] ?? [folder.replace("src", "test")]) {
      if (!(await passes(copy, [suite]))) return "killed";
    }
    return "survived";
  } finally {
    writeFileSync(path, source);
  }
}

/** Tests of the folder that import the file themselves: first the one that has its name. */
function testsOf(file: string, folder: string): readonly (readonly string[])[] {
  const place = folder.replace("src", "test");
  const imports = (test: SourceFile): boolean =>
    test.imports.some(({ specifier }) => resolveImport(test.path, specifier) === file);
  const found = tests.filter((test) => test.path.startsWith(`${place}/`) && imports(test));
  const named = file.replace("src", "test").replace(/\.ts$/, "_test.ts");
  const others = found.map(({ path }) => path).filter((path) => path !== named);
  const first = found.length > others.length ? [[named]] : [];
  return others.length === 0 ? first : [...first, others];
}

function passes(copy: string, paths: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const files = paths.map((path) => `./${path}`);
    const child = spawn(tool("bun"), ["test", "--bail", "--timeout=60000", ...files], {
      cwd: copy,
      stdio: "ignore",
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), RUN_MS_MAX);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve(code === 0);
    });
  });
}

function isEquivalent(mutant: Mutant): boolean {
  return equivalents.some((one) => {
    const isSame = one.original === mutant.original && one.replacement === mutant.replacement;
    return isSame && one.file === mutant.file && one.source === lineOf(mutant);
  });
}

function lineOf({ file, line }: Mutant): string {
  const source = project.find(({ path }) => path === file) ?? parseSource(file, "");
  return (source.lines[line - 1] ?? "").trim();
}

function progress(verdicts: readonly Verdict[], total: number): void {
  const { mutant, outcome } = verdicts.at(-1)!;
  if (outcome === "survived") console.log(`survived  ${describe(mutant)}`);
  if (verdicts.length % 25 === 0) console.log(`${verdicts.length} of ${total}`);
}

function describe(mutant: Mutant): string {
  const { file, line, original, replacement } = mutant;
  const change = `${original.split("\n")[0]} -> ${replacement.split("\n")[0]}`;
  return `${file}:${line}: ${change}  in  ${lineOf(mutant)}`;
}

function report(folder: string, verdicts: readonly Verdict[]): void {
  const count = (outcome: Verdict["outcome"]): number =>
    verdicts.filter((verdict) => verdict.outcome === outcome).length;
  const [killed, survived, equivalent] = [count("killed"), count("survived"), count("equivalent")];
  const score = killed + survived === 0 ? 1 : killed / (killed + survived);
  if (score < 0.9) failed = true;
  const summary = { folder, seed: Number(values.seed), killed, survived, equivalent, score };
  if (values.json) {
    const survivors = verdicts.filter(({ outcome }) => outcome === "survived");
    console.log(
      JSON.stringify({ ...summary, survivors: survivors.map(({ mutant }) => describe(mutant)) }),
    );
    return;
  }
  const percent = (100 * score).toFixed(1);
  console.log(
    `${folder}: ${killed} killed, ${survived} survived, ${equivalent} equivalent: ${percent} %`,
  );
}
