/**
 * What a person types in the shell: expressions and statements in JavaScript, with `await`, whose
 * variables stay.
 *
 * @module
 */

import { CStoreError } from "../src/base/errors.ts";
import { UsageError } from "./output.ts";

// The evaluated text was typed by the person at the keyboard, and has that person's rights.
const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (
  ...parts: readonly string[]
) => (scope: object) => Promise<unknown>;

/** A variable's declaration at the beginning: only there, later ones may stand inside of texts. */
const DECLARATION = /^(?:let|const|var)\s+(?=([\w$]+)\s*=)/;

/** Evaluates texts one after the other. */
export class Evaluator {
  readonly #scope: object;
  readonly #known: { [name: string]: unknown };

  constructor(names: { readonly db: unknown }) {
    const known: { [name: string]: unknown } = { ...names };
    this.#known = known;
    this.#scope = new Proxy(known, {
      // Every name that is none of the language's own is one of the session.
      has: (_target, name) => typeof name === "string" && (name in known || !(name in globalThis)),
      get: (_target, name) => {
        if (typeof name === "symbol") return undefined;
        if (Object.hasOwn(known, name)) return known[name];
        throw new ReferenceError(`${name} is not defined`);
      },
    });
  }

  /** The value of the text, or of its last statement. Rejects with UsageError, CStoreError. */
  async evaluate(source: string): Promise<unknown> {
    // A variable may have the name of one of the language's own.
    const [, declared] = DECLARATION.exec(source.trim()) ?? [];
    if (declared !== undefined && !Object.hasOwn(this.#known, declared)) {
      this.#known[declared] = undefined;
    }
    const run = compile(source);
    try {
      return await run(this.#scope);
    } catch (error) {
      if (error instanceof CStoreError || error instanceof UsageError) throw error;
      throw new UsageError(error instanceof Error ? error.message : String(error));
    }
  }
}

/** The text as an expression, as statements with a last expression, or as statements. */
function compile(source: string): (scope: object) => Promise<unknown> {
  const text = source.trim().replace(/;+$/, "");
  const body = text.replace(DECLARATION, "");
  const end = Math.max(body.lastIndexOf(";"), body.lastIndexOf("\n")) + 1;
  const [before, last] = [body.slice(0, end), body.slice(end)];
  let problem: unknown;
  for (const one of [`return (${body}\n);`, `${before}\nreturn (${last}\n);`, body]) {
    try {
      return new AsyncFunction("$scope", `with ($scope) {${one}\n}`);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      problem = error;
    }
  }
  throw new UsageError(`Cannot read the text: ${problem instanceof Error ? problem.message : ""}`);
}
