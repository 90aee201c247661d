/**
 * One random run of nodes that all take writes: messages are lost, repeated and overtaken, links
 * are cut, disks are slow, nodes lose power, a part of their log or their membership. Then
 * everything is mended, and all must show the same: what the operations that were acknowledged add
 * up to by rules that are written here once more, more simply.
 */

import type { Fields } from "../../src/base/value.ts";
import {
  type ConflictConfig,
  type ConflictStrategy,
  isRemoved,
} from "../../src/multi_master/conflict_resolver.ts";
import type { Dot } from "../../src/multi_master/dot.ts";
import type { Operation } from "../../src/multi_master/operation.ts";
import { VersionStore } from "../../src/multi_master/version_store.ts";
import { covers, type VersionVector } from "../../src/multi_master/version_vector.ts";
import { SeededRandom } from "../../src/platform/random.ts";
import { TestCluster, type TestNode } from "./cluster.ts";

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
const KEYS = ["a", "b", "c", "d"];
const TAGS = ["red", "green", "blue"];
const STEPS = 400;
/** Times of asking around after which all must agree. */
const HEAL_TICKS = 60;

/** What a test wanted of a document, beside the body that it wrote. */
interface Intent extends Dot {
  readonly key: string;
  /** What its writer had seen. */
  readonly context: VersionVector;
  readonly added: number;
  readonly tagsAdded: readonly string[];
  readonly tagsRemoved: readonly string[];
}

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
  /** Whether documents are removed: then sums say nothing. */
  readonly #hasRemovals: boolean;
  #hasForgotten = false;
  #renewed = 0;

  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
    const strategy = this.#pick(STRATEGIES);
    this.#hasRemovals = this.#random.chance(0.5);
    const removal = this.#random.chance(0.3) ? "remove-wins" : "update-wins";
    const conflict: ConflictConfig = { strategy, removal, priorities: ["n2", "n1"] };
    this.#cluster = new TestCluster(2 + this.#random.below(4), conflict);
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
    const keys = KEYS.filter(() => this.#random.chance(0.4));
    const documents = keys.map((key) => this.#change(node, key));
    if (documents.length === 0) return;
    const operation = node.master.write(
      documents.map(({ key, body }) => ({ collection: "docs", key, body })),
      this.#cluster.nowMs + node.skewMs,
    );
    const { origin, sequence } = operation;
    // After a crash an operation that never left the node gives its number to another one.
    const intents = documents.map(({ intent }) => ({ ...intent, origin, sequence }));
    this.#intents.set(nameOf(operation), intents);
  }

  #change(node: TestNode, key: string) {
    const { master } = node;
    const before = master.read("docs", key).body;
    const context = new Map(master.cursor);
    const nothing = { key, context, added: 0, tagsAdded: [], tagsRemoved: [] };
    if (this.#hasRemovals && this.#random.chance(0.3)) {
      return { key, body: undefined, intent: nothing };
    }
    const tags = (before?.["tags"] ?? []) as readonly string[];
    const wanted = TAGS.filter((tag) => this.#random.chance(tags.includes(tag) ? 0.7 : 0.3));
    const added = this.#random.below(9) - 3;
    const intent = {
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
    node.master.tick();
    this.#cluster.nowMs += this.#random.below(20);
  }

  /** All hear of all for a while: only then are removals forgotten. */
  #calm(): void {
    const count = () => this.#cluster.nodes.map(({ master }) => master.tombstones);
    const before = count();
    this.#cluster.pass(this.#random.below(5));
    if (count().some((tombstones, i) => tombstones < before[i]!)) this.#hasForgotten = true;
  }

  #cut(): void {
    this.#cuts.add(`${this.#pick(this.#cluster.nodes).id} ${this.#pick(this.#cluster.nodes).id}`);
  }

  #trim(node: TestNode): void {
    this.#cluster.work(node);
    node.disk.replace(structuredClone(node.master.seed()), node.disk);
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
    const texts = new Set(nodes.map(({ master }) => master.text()));
    if (texts.size !== 1)
      throw new Error(`${texts.size} different states on ${nodes.length} nodes`);
    const kept = nodes.find(({ master }) => master.tombstones > 0);
    if (kept !== undefined) throw new Error(`${kept.id} keeps removed documents`);
    const counted = this.#cluster.written;
    for (const { id, master } of nodes) {
      const missing = counted.find((operation) => !covers(master.cursor, operation));
      if (missing !== undefined) throw new Error(`${id} lacks ${nameOf(missing)}`);
    }
    this.#checkVersions(counted);
    const intents = counted.flatMap((operation) => this.#intents.get(nameOf(operation)) ?? []);
    if (this.#cluster.hasLost) return;
    if (conflict.strategy === "counter" && !this.#hasRemovals) this.#checkSums(intents);
    if (conflict.strategy === "set" && !this.#hasRemovals) this.#checkTags(intents);
  }

  /** All operations taken in by one store, in another order and with nothing forgotten. */
  #checkVersions(counted: readonly Operation[]): void {
    const { conflict } = this.#cluster;
    const store = new VersionStore(({ versions }) => isRemoved(versions, conflict));
    const left = [...counted];
    while (left.length > 0) store.apply(left.splice(this.#random.below(left.length), 1)[0]!);
    if (store.text() !== this.#cluster.node(1).master.text()) {
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
      const found = ((this.#cluster.body(1, key)?.["tags"] ?? []) as readonly string[]).join();
      if (found !== expected) throw new Error(`${key} has "${found}", not "${expected}"`);
    }
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#random.below(items.length)]!;
  }
}

function nameOf({ origin, sequence }: Dot): string {
  return `${origin} ${sequence}`;
}

/** Runs one seed. Throws when nodes differ or show what nobody wrote. */
export function runSeed(seed: number): RunResult {
  return new RandomRun(seed).run();
}
