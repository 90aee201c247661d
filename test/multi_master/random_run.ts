/**
 * One random run of nodes that all take writes: messages are lost, repeated and overtaken, links
 * are cut, disks are slow, nodes lose power, a part of their log or their membership. Then
 * everything is mended, and all must show the same: what the operations that were acknowledged add
 * up to by rules that are written here once more, more simply.
 */

import type { Fields } from "../../src/base/value.ts";
import { isRemoved, type Resolving } from "../../src/multi_master/document/conflict_resolver.ts";
import { addVersion, versionOf } from "../../src/multi_master/document/document_versions.ts";
import { isRetired } from "../../src/multi_master/operation/agreement.ts";
import type {
  ConflictConfig,
  ConflictStrategy,
} from "../../src/multi_master/operation/conflict_rule.ts";
import { compareDots, type Dot } from "../../src/multi_master/operation/dot.ts";
import type {
  DocumentVersion,
  Operation,
  SeenToken,
} from "../../src/multi_master/operation/operation.ts";
import { covers, type VersionVector } from "../../src/multi_master/operation/version_vector.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import { codec, DOCS, keyOf, nameOf, shownOf, TestCluster, type TestNode } from "./cluster.ts";

const STRATEGIES: readonly ConflictStrategy[] = [
  "last-write-wins",
  "field-merge",
  "counter",
  "set",
  "max",
  "min",
  "siblings",
  "node-priority",
];
const REMOVALS = [undefined, "update-wins", "remove-wins", "as-written"] as const;
const KEYS = ["a", "b", "c", "d"];
const TAGS = ["red", "green", "blue"];
const STEPS = 400;
/** Times of asking around after which all must agree. */
const HEAL_TICKS = 60;

/** What a test wanted of a document, beside the body that it wrote. */
interface Wish {
  readonly key: string;
  /** What its writer had seen. */
  readonly context: VersionVector;
  readonly added: number;
  readonly tagsAdded: readonly string[];
  readonly tagsRemoved: readonly string[];
}

/** A wish, and the operation that carried it out. */
interface Intent extends Wish, Dot {}

/** What a run did. */
export interface RunResult {
  readonly operations: number;
  readonly forgotten: boolean;
  readonly renewed: number;
}

class RandomRun {
  readonly #random: SeededRandom;
  readonly #cluster: TestCluster;
  /** By operation. */
  readonly #intents = new Map<string, readonly Intent[]>();
  /** Links that carry nothing: "n1 n2". */
  readonly #cuts = new Set<string>();
  /** Requests with a number, by that number less one. */
  readonly #requests: (readonly Wish[])[] = [];
  /** What clients of an incarnation have seen. */
  readonly #tokens = new Map<string, SeenToken>();
  /** Whether requests are sent again, to other nodes. */
  readonly #hasRequests: boolean;
  /** Whether clients write by what they have read. */
  readonly #hasTokens: boolean;
  /** Whether documents are removed: then sums say nothing. */
  readonly #hasRemovals: boolean;
  #hasForgotten = false;
  #renewed = 0;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    const strategy = this.#pick(STRATEGIES);
    this.#hasRemovals = this.#random.chance(0.5);
    this.#hasRequests = this.#random.chance(0.4);
    this.#hasTokens = this.#random.chance(0.3);
    const removal = this.#pick(REMOVALS);
    const conflict: ConflictConfig = {
      ...{ strategy, priorities: ["n2", "n1"] },
      ...(removal === undefined ? {} : { removal }),
    };
    this.#cluster = new TestCluster(2 + this.#random.below(4), conflict, this.#random.chance(0.5));
  }

  run(): RunResult {
    for (let step = 0; step < STEPS; step += 1) this.#step();
    this.#heal();
    this.#check();
    return {
      operations: this.#cluster.written.length,
      forgotten: this.#hasForgotten,
      renewed: this.#renewed,
    };
  }

  #step(): void {
    const node = this.#pick(this.#cluster.nodes);
    this.#cluster.nowMs += this.#random.below(20);
    const dice = this.#random.below(1000);
    if (dice < 250) this.#write(node);
    else if (dice < 600) this.#deliver();
    else if (dice < 700) this.#tick(node);
    else if (dice < 860) this.#cluster.work(node);
    else if (dice < 900) this.#cluster.take(node);
    else if (dice < 930) this.#cluster.restart(node);
    else if (dice < 950) this.#cut();
    else if (dice < 970) this.#cuts.clear();
    else if (dice < 980) this.#trim(node);
    else if (dice < 985) node.skewMs = this.#random.below(1000) - 500;
    else if (dice < 991) this.#calm();
    else if (dice < 995) this.#renew(node);
    else this.#cluster.learn(node);
  }

  #write(node: TestNode): void {
    if (!node.master.isReady) return;
    if (this.#hasRequests && this.#random.chance(0.2)) {
      this.#writeAgain(node);
      return;
    }
    const keys = KEYS.filter(() => this.#random.chance(0.4));
    const documents = keys.map((key) => this.#change(node, key));
    const isNamed = this.#hasRequests && this.#random.chance(0.5);
    const number = isNamed ? this.#requests.length + 1 : undefined;
    if (number !== undefined) this.#requests.push(documents.map(({ intent }) => intent));
    this.#send(node, documents, { number, isRepeat: false });
  }

  /** A client got no answer, and sends its request to this node. */
  #writeAgain(node: TestNode): void {
    const number = this.#requests.length - this.#random.below(6);
    const documents = (this.#requests[number - 1] ?? []).map(({ key, added }) => {
      return this.#change(node, key, added);
    });
    this.#send(node, documents, { number, isRepeat: true });
  }

  #send(
    node: TestNode,
    documents: readonly { key: string; body: Fields | undefined; intent: Wish }[],
    { number, isRepeat }: { readonly number: number | undefined; readonly isRepeat: boolean },
  ): void {
    if (documents.length === 0) return;
    const token = this.#tokens.get(node.origin);
    const hadSeen = this.#hasTokens && this.#random.chance(0.3) ? token : undefined;
    if (this.#random.chance(0.3)) this.#tokens.set(node.origin, node.master.token);
    const result = node.master.write(
      {
        documents: documents.map(({ key, body }) => ({
          ...{ collection: DOCS, key: keyOf(key) },
          body: body === undefined ? undefined : codec.encode(body),
          ...(hadSeen === undefined ? {} : { seen: hadSeen }),
        })),
        ...(number === undefined
          ? {}
          : { request: { session: "s", number, answered: Math.max(0, number - 12), isRepeat } }),
      },
      this.#cluster.nowMs + node.skewMs,
    );
    if (result.kind !== "written") {
      const isExpected = result.kind === "known" ? isRepeat : hadSeen !== undefined;
      if (!isExpected) throw new Error(`A write was ${result.kind}`);
      return;
    }
    const { origin, sequence } = result.operation;
    // After a crash an operation that never left the node gives its number to another one.
    const intents = documents.map(({ intent }) => ({ ...intent, origin, sequence }));
    this.#intents.set(nameOf(result.operation), intents);
  }

  /** @param again what a request that is sent again adds; it changes nothing else. */
  #change(node: TestNode, key: string, again?: number) {
    const { master } = node;
    const { body: bytes } = master.read(DOCS, keyOf(key));
    const before = bytes === undefined ? undefined : codec.decode(bytes);
    const context = new Map(master.cursor);
    const nothing: Wish = { key, context, added: 0, tagsAdded: [], tagsRemoved: [] };
    if (again !== undefined) {
      const repeated: Fields = { ...before, count: ((before?.["count"] ?? 0) as number) + again };
      return { key, body: repeated, intent: { ...nothing, added: again } };
    }
    if (this.#hasRemovals && this.#random.chance(0.3)) {
      return { key, body: undefined, intent: nothing };
    }
    const tags = (before?.["tags"] ?? []) as readonly string[];
    const wanted = TAGS.filter((tag) => this.#random.chance(tags.includes(tag) ? 0.7 : 0.3));
    const added = this.#random.below(9) - 3;
    const intent: Wish = {
      ...nothing,
      added,
      tagsAdded: wanted.filter((tag) => !tags.includes(tag)),
      tagsRemoved: tags.filter((tag) => !wanted.includes(tag)),
    };
    const field = this.#pick(["x", "y"]);
    const count = ((before?.["count"] ?? 0) as number) + added;
    const body: Fields = { ...before, count, tags: wanted, [field]: this.#random.below(5) };
    return { key, body, intent };
  }

  /** Any message may be next; some arrive twice and some never. */
  #deliver(): void {
    const { network } = this.#cluster;
    if (network.length === 0) return;
    const at = this.#random.below(Math.min(network.length, 30));
    const message = network[at]!;
    if (!this.#random.chance(0.1)) network.splice(at, 1);
    if (this.#random.chance(0.1) || this.#cuts.has(`${message.from} ${message.to}`)) return;
    this.#cluster.deliver(message);
  }

  #tick(node: TestNode): void {
    node.master.tick(this.#cluster.nowMs + node.skewMs);
    this.#cluster.agreeOnFloor();
    this.#cluster.nowMs += this.#random.below(20);
  }

  /** All hear of all for a while: only then are removals forgotten. */
  #calm(): void {
    const count = () => this.#cluster.nodes.map(({ master }) => master.documents.removed);
    const before = count();
    this.#cluster.pass(this.#random.below(5));
    if (count().some((tombstones, i) => tombstones < before[i]!)) this.#hasForgotten = true;
  }

  #cut(): void {
    this.#cuts.add(`${this.#pick(this.#cluster.nodes).id} ${this.#pick(this.#cluster.nodes).id}`);
  }

  #trim(node: TestNode): void {
    this.#cluster.work(node);
    node.disk.replace(this.#cluster.seedOf(node), node.disk);
  }

  /** A node loses the end of its log, or was away for too long; some states are refused. */
  #renew(node: TestNode): void {
    const givers = this.#cluster.nodes.filter((other) => other !== node && !other.master.isStopped);
    if (givers.length === 0) return;
    this.#renewed += 1;
    const isAnew = node.master.isStopped || this.#random.chance(0.5);
    if (!isAnew) node.disk.tear(this.#random.below(4));
    this.#cluster.renew(node, this.#pick(givers), isAnew);
  }

  #heal(): void {
    this.#cuts.clear();
    for (const node of this.#cluster.nodes) node.skewMs = 0;
    for (let i = 0; i < HEAL_TICKS; i += 1) {
      this.#cluster.learnAll();
      this.#cluster.pass(1);
      const stopped = this.#cluster.nodes.find(({ master }) => master.isStopped);
      if (stopped !== undefined) this.#renew(stopped);
    }
    this.#cluster.dropLost();
  }

  #check(): void {
    const { nodes, conflict } = this.#cluster;
    const texts = new Set(this.#cluster.texts());
    if (texts.size !== 1)
      throw new Error(`${texts.size} different states on ${nodes.length} nodes`);
    const kept = nodes.find(({ master }) => master.documents.removed > 0);
    if (kept !== undefined) throw new Error(`${kept.id} keeps removed documents`);
    const counted = this.#cluster.written;
    for (const { id, master } of nodes) {
      const missing = counted.find((operation) => !this.#has(master.cursor, operation));
      if (missing !== undefined) throw new Error(`${id} lacks ${nameOf(missing)}`);
    }
    this.#checkVersions(counted);
    const intents = onceEach(counted).flatMap((one) => this.#intents.get(nameOf(one)) ?? []);
    if (this.#cluster.hasLost || this.#hasRemovals) return;
    if (conflict.strategy === "counter") this.#checkSums(intents);
    if (conflict.strategy === "set" && !this.#hasRequests) this.#checkTags(intents);
  }

  /** Of a retired origin every member has all, and nobody keeps account of it. */
  #has(cursor: VersionVector, operation: Operation): boolean {
    const { agreement } = this.#cluster;
    return isRetired(agreement, operation.origin) || covers(cursor, operation);
  }

  /** All operations folded in another order, with nothing forgotten and nothing made smaller. */
  #checkVersions(counted: readonly Operation[]): void {
    const { agreement, conflict, resolvers } = this.#cluster;
    const retiredAt = (origin: string) => agreement.retired.get(origin)?.version;
    const causality = { retiredAt, sameRequest: sameRequests(counted) };
    const resolving: Resolving = { config: conflict, codec, resolvers, causality };
    const folded = new Map<string, readonly DocumentVersion[]>();
    const left = [...counted];
    while (left.length > 0) {
      const operation = left.splice(this.#random.below(left.length), 1)[0]!;
      for (const change of operation.changes) {
        const name = new TextDecoder().decode(change.key);
        const added = versionOf(operation, change);
        folded.set(name, addVersion(folded.get(name) ?? [], added, causality));
      }
    }
    const rows = [...folded]
      .filter(([, versions]) => !isRemoved(versions, resolving))
      .map(([name, versions]) => [name, versions.map(shownOf)] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    if (JSON.stringify(rows) !== this.#cluster.text(this.#cluster.node(1))) {
      throw new Error("The nodes agree on something that the operations do not add up to");
    }
  }

  #checkSums(intents: readonly Intent[]): void {
    for (const key of KEYS) {
      const added = intents.filter((intent) => intent.key === key);
      const sum = added.reduce((total, intent) => total + intent.added, 0);
      const found = this.#cluster.body(1, key)?.["count"];
      if (added.length > 0 && found !== sum) throw new Error(`${key} is ${found}, not ${sum}`);
    }
  }

  /** A tag is there if somebody added it and nobody who knew of that took it away. */
  #checkTags(intents: readonly Intent[]): void {
    for (const key of KEYS) {
      const own = intents.filter((intent) => intent.key === key);
      const isThere = (tag: string) =>
        own.some(
          (add) =>
            add.tagsAdded.includes(tag) &&
            !own.some(
              ({ tagsRemoved, context }) => tagsRemoved.includes(tag) && covers(context, add),
            ),
        );
      const expected = TAGS.filter(isThere).sort().join();
      const tags = (this.#cluster.body(1, key)?.["tags"] ?? []) as readonly string[];
      const found = tags.toSorted().join();
      if (found !== expected) throw new Error(`${key} has "${found}", not "${expected}"`);
    }
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#random.below(items.length)]!;
  }
}

/** Of operations that carried out one request, the first. */
function onceEach(operations: readonly Operation[]): readonly Operation[] {
  const seen = new Set<number>();
  return operations.toSorted(compareDots).filter(({ request }) => {
    if (request === undefined) return true;
    const isFirst = !seen.has(request.number);
    seen.add(request.number);
    return isFirst;
  });
}

/** The operations that carried out the same request as one of them. */
function sameRequests(operations: readonly Operation[]) {
  const byNumber = new Map<number, Dot[]>();
  const numbers = new Map<string, number>();
  for (const { request, origin, sequence } of operations.toSorted(compareDots)) {
    if (request === undefined) continue;
    const dots = byNumber.get(request.number) ?? [];
    dots.push({ origin, sequence });
    byNumber.set(request.number, dots);
    numbers.set(nameOf({ origin, sequence }), request.number);
  }
  return (dot: Dot): readonly Dot[] | undefined => {
    const dots = byNumber.get(numbers.get(nameOf(dot)) ?? 0) ?? [];
    return dots.length > 1 ? dots : undefined;
  };
}

/** Runs one seed. Throws when nodes differ or show what nobody wrote. */
export function runSeed(seed: number): RunResult {
  return new RandomRun(seed).run();
}
