/**
 * `cstore cluster verify`: the members' states compared at the very same entry of the log.
 *
 * @module
 */

import { CStoreError } from "../../src/base/errors.ts";
import { parseAddresses } from "../../src/client/remote_database.ts";
import {
  differingDocument,
  type StateDifference,
  stateDifference,
} from "../../src/database/state_digest.ts";
import { decodeKey } from "../../src/protocol/encoding/document_key.ts";
import type { DocumentDigest, StateDigest } from "../../src/protocol/wire/reply.ts";
import { durationOption, flagOption, type RawOptions } from "../options.ts";
import { colour, EXIT, ExitError, print, printJson, table } from "../output.ts";
import { addressesOf } from "./cluster_command.ts";
import { viewCluster, withDatabase } from "./cluster_view.ts";

interface Asked {
  readonly id: string;
  readonly address: string;
  /** Undefined when the member gave none. */
  readonly state: StateDigest | undefined;
  readonly problem: string;
  readonly isOvertaken: boolean;
}

/** The first document in which two members differ. */
interface Culprit {
  readonly id: string | number;
  /** Version and hash on each of the two; null where it does not exist. */
  readonly versions: Readonly<Record<string, { version: number; hash: string } | null>>;
}

interface Finding {
  readonly members: readonly [string, string];
  readonly difference: StateDifference;
  readonly document: Culprit | null;
}

/** One comparison: its entry, and how long an answer may take. */
interface Run {
  readonly index: number;
  readonly timeoutMs: number;
}

/** Exit code 0: all equal; 1: a difference; 3: equal as far as members answered. */
export async function clusterVerify(options: RawOptions): Promise<void> {
  const timeoutMs = durationOption(options, "timeout", 30_000);
  const addresses = addressesOf(options);
  let round = await askAll(addresses, timeoutMs);
  for (let again = 1; again < ROUNDS && round.isOvertaken; again += 1) {
    round = await askAll(addresses, timeoutMs);
  }
  const { run, asked } = round;
  const findings = await compare(asked, { run, isDeep: flagOption(options, "deep") });
  if (flagOption(options, "json")) printJson(jsonOf(run.index, asked, findings));
  else printVerdict(run.index, asked, findings);
  if (findings.length > 0) throw new ExitError(EXIT.failed);
  if (asked.some(({ state }) => state === undefined)) throw new ExitError(EXIT.unreachable);
}

/** Rounds that another comparison at the same time may overtake. */
const ROUNDS = 5;

interface Round {
  readonly run: Run;
  readonly asked: readonly Asked[];
  /** A later comparison took the place of this one on some member. */
  readonly isOvertaken: boolean;
}

/** Has every member digest its state at one new entry. */
async function askAll(addresses: string, timeoutMs: number): Promise<Round> {
  const answer = await withDatabase(addresses, timeoutMs, (database) =>
    database.cluster({ action: "verify" }),
  );
  const run = { index: answer.index, timeoutMs };
  const { members } = await viewCluster(parseAddresses(addresses), Math.min(timeoutMs, 2000));
  const asked = await Promise.all(members.map((member) => askDigest(member, run)));
  return { run, asked, isOvertaken: asked.some(({ isOvertaken }) => isOvertaken) };
}

async function askDigest(
  { id, address }: { readonly id: string; readonly address: string },
  { index, timeoutMs }: Run,
): Promise<Asked> {
  try {
    const state = await withDatabase(address, timeoutMs, (database) =>
      database.cluster({ action: "digest", index }, "any"),
    );
    return { id, address, state, problem: "", isOvertaken: false };
  } catch (error) {
    if (!(error instanceof CStoreError)) throw error;
    const problem = `${error.message} [${error.code}]`;
    return { id, address, state: undefined, problem, isOvertaken: error.code === "NOT_FOUND" };
  }
}

/** Compares each member with the first of the state that most members have. */
async function compare(
  asked: readonly Asked[],
  how: { readonly run: Run; readonly isDeep: boolean },
): Promise<Finding[]> {
  const counts = new Map<string, Asked[]>();
  for (const one of asked) {
    if (one.state === undefined) continue;
    counts.set(one.state.digest, [...(counts.get(one.state.digest) ?? []), one]);
  }
  const [most] = [...counts.values()].sort((a, b) => b.length - a.length);
  const [usual] = most ?? [];
  const findings: Finding[] = [];
  for (const one of asked) {
    if (one.state === undefined || usual?.state === undefined) continue;
    const difference = stateDifference(usual.state, one.state);
    if (difference === undefined) continue;
    const document = how.isDeep ? await culprit([usual, one], difference, how.run) : null;
    findings.push({ members: [usual.id, one.id], difference, document });
  }
  return findings;
}

async function culprit(
  pair: readonly [Asked, Asked],
  difference: StateDifference,
  run: Run,
): Promise<Culprit | null> {
  if (difference.part !== "collection") return null;
  const { name: collection, ranges } = difference;
  for (const range of ranges) {
    const [a, b] = await Promise.all(pair.map((one) => listRange(one, { collection, range }, run)));
    const found = differingDocument(a ?? [], b ?? []);
    const key = (found?.a ?? found?.b)?.key;
    if (found === undefined || key === undefined) continue;
    const versions = { [pair[0].id]: shown(found.a), [pair[1].id]: shown(found.b) };
    return { id: decodeKey(key), versions };
  }
  return null;
}

async function listRange(
  { address }: Asked,
  place: { readonly collection: string; readonly range: number },
  { index, timeoutMs }: Run,
): Promise<readonly DocumentDigest[]> {
  const answer = await withDatabase(address, timeoutMs, (database) =>
    database.cluster({ action: "documents", index, ...place }, "any"),
  );
  return answer.documents;
}

function shown(document: DocumentDigest | undefined): { version: number; hash: string } | null {
  return document === undefined ? null : { version: document.version, hash: document.hash };
}

function jsonOf(index: number, asked: readonly Asked[], findings: readonly Finding[]): object {
  return {
    index,
    equal: isCompared(asked) ? findings.length === 0 : null,
    members: asked.map(({ id, address, state, problem }) => ({
      id,
      address,
      digest: state?.digest ?? null,
      documents: state === undefined ? null : countOf(state),
      problem: problem === "" ? null : problem,
    })),
    differences: findings,
  };
}

/** Whether there was anything to compare. */
function isCompared(asked: readonly Asked[]): boolean {
  const answered = asked.filter(({ state }) => state !== undefined).length;
  return answered >= Math.min(2, asked.length);
}

function countOf({ collections }: StateDigest): number {
  return collections.reduce((sum, { count }) => sum + count, 0);
}

function printVerdict(index: number, asked: readonly Asked[], findings: readonly Finding[]): void {
  const answered = asked.filter(({ state }) => state !== undefined).length;
  const isEqual = findings.length === 0;
  const verdict = !isCompared(asked) ? "unknown" : isEqual ? "equal" : colour.red("different");
  print(`${verdict}: the states of ${answered} of ${asked.length} members at entry ${index}`);
  print();
  const rows = asked.map(({ id, address, state }) => [
    id,
    address,
    state?.digest ?? "no answer",
    state === undefined ? "-" : `${countOf(state)}`,
    state === undefined ? "-" : `${state.collections.length}`,
  ]);
  print(table(["id", "address", "digest", "documents", "collections"], rows));
  for (const { id, problem } of asked) if (problem !== "") print(`\n${id}: ${problem}`);
  for (const finding of findings) print(`\n${describe(finding)}`);
}

function describe({ members, difference, document }: Finding): string {
  const head = `${members[1]} differs from ${members[0]} in`;
  if (difference.part !== "collection") return `${head} its ${difference.part}`;
  const where = `${head} collection ${JSON.stringify(difference.name)}`;
  if (document === null) {
    return `${where}, ${difference.ranges.length} of 256 ranges; --deep finds the first document`;
  }
  const sides = members.map((id) => {
    const side = document.versions[id];
    return side ? `${id} has version ${side.version}, hash ${side.hash}` : `${id} has none`;
  });
  return `${where}: document ${JSON.stringify(document.id)}: ${sides.join("; ")}`;
}
