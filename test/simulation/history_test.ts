import { expect, test } from "bun:test";
import { SeededRandom } from "../../src/platform/random.ts";
import { isLinearizable, type Operation } from "./checkers/history.ts";

const KINDS = ["put", "get", "cas", "remove"] as const;
const OUTCOMES = ["ok", "ok", "ok", "fail", "unknown"] as const;

/** A few operations with few values, so that about half of the histories have an order. */
function drawHistory(random: SeededRandom): Operation[] {
  return Array.from({ length: 2 + random.below(5) }, (_, i) => {
    const kind = KINDS[random.below(KINDS.length)]!;
    const drawn = OUTCOMES[random.below(OUTCOMES.length)]!;
    const isRead = kind === "get";
    const outcome = (drawn === "fail" && kind !== "cas") || isRead ? "ok" : drawn;
    const seen = random.chance(0.3) ? null : `v${random.below(6)}`;
    const value = isRead ? seen : kind === "remove" ? null : `v${i}`;
    const startMs = random.below(12);
    const endMs = startMs + random.below(6);
    return { client: i, key: "k", kind, value, expect: seen, startMs, endMs, outcome };
  });
}

/** Every order, tried. */
function hasOrder(open: readonly Operation[], state: string | null): boolean {
  if (open.every((operation) => operation.outcome === "unknown")) return true;
  return open.some((operation) => {
    const others = open.filter((other) => other !== operation);
    if (others.some((o) => o.outcome !== "unknown" && o.endMs < operation.startMs)) return false;
    const { kind, value, expect: wanted, outcome } = operation;
    if (kind === "get") return value === state && hasOrder(others, state);
    if (kind !== "cas") return hasOrder(others, value);
    if (outcome === "fail") return state !== wanted && hasOrder(others, state);
    return state === wanted && hasOrder(others, value);
  });
}

test("history: the search finds an order exactly when there is one", () => {
  const random = new SeededRandom(1);
  const verdicts = { explained: 0, broken: 0 };
  for (let round = 0; round < 20_000; round += 1) {
    const history = drawHistory(random);
    const expected = hasOrder(history, null);
    if (isLinearizable(history) !== expected)
      throw new Error(`expected ${expected}: ${JSON.stringify(history)}`);
    verdicts[expected ? "explained" : "broken"] += 1;
  }
  expect(verdicts.explained).toBeGreaterThan(4000);
  expect(verdicts.broken).toBeGreaterThan(4000);
});

// Writes that were never answered and never seen stay open to the end of the history.
test("history: hundreds of writes of unknown outcome do not slow the search down", () => {
  const history: Operation[] = [];
  for (let i = 0; i < 3000; i += 1) {
    const outcome = i % 5 === 0 ? "unknown" : "ok";
    const times = { startMs: i * 2, endMs: i * 2 + 5 };
    const value = `v${i}`;
    history.push({ client: 1, key: "k", kind: "put", value, expect: null, ...times, outcome });
  }
  expect(isLinearizable(history)).toBe(true);
});

// A search by recursion has no room for its calls here.
test("history: one of 20,000 operations on a key is judged", () => {
  const history = Array.from({ length: 20_000 }, (_, i): Operation => {
    const times = { startMs: i, endMs: i + 0.5 };
    return { client: 1, key: "k", kind: "put", value: `v${i}`, outcome: "ok", ...times };
  });
  expect(isLinearizable(history)).toBe(true);
  const late: Operation = { ...history[0]!, kind: "get", startMs: 30_000, endMs: 30_001 };
  expect(isLinearizable([...history, late])).toBe(false);
});
