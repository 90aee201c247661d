/**
 * Splits TypeScript into tokens, well enough for the rules of tidy: comments, strings, templates
 * and regular expressions are told apart, so that a word or a brace inside one is never code.
 *
 * @module
 */

export type TokenKind = "word" | "number" | "string" | "template" | "regex" | "sign" | "comment";

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  /** From 1. */
  readonly line: number;
  /** Offset of its first character in the source. */
  readonly at: number;
  /** How many brackets of any kind are open around it; a bracket stands outside of itself. */
  readonly depth: number;
}

/** A file's tokens: `code` without the comments, `comments` with only them. */
export interface Scan {
  readonly code: readonly Token[];
  readonly comments: readonly Token[];
}

const WORD = /[\p{ID_Start}$_#@][\p{ID_Continue}$\u200c\u200d]*/uy;
const NUMBER = /\d(?:[\w.]|(?<=[eE])[+-])*/y;
const SIGN =
  /\.\.\.|=>|[=!]==?|<=|\?\?=?|\?\.(?!\d)|&&=?|\|\|=?|\*\*=?|\+\+|--|[-+*/%&|^]=|[\s\S]/uy;

/** After these words a `/` begins a regular expression, not a division. */
const BEFORE_REGEX = new Set(
  "return typeof case in of delete void throw new else do yield await instanceof".split(" "),
);

/** Splits a whole file. */
export function scan(source: string): Scan {
  const scanner = new Scanner(source);
  scanner.run();
  return { code: scanner.code, comments: scanner.comments };
}

class Scanner {
  readonly code: Token[] = [];
  readonly comments: Token[] = [];
  readonly #source: string;
  /** For each open brace, whether it began a `${` inside a template. */
  readonly #braces: boolean[] = [];
  #at = 0;
  #line = 1;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  run(): void {
    while (this.#at < this.#source.length) this.#step();
  }

  #step(): void {
    const source = this.#source;
    const char = source.charAt(this.#at);
    const next = source.charAt(this.#at + 1);
    if (char === "\n" || char === " " || char === "\t" || char === "\r") {
      if (char === "\n") this.#line += 1;
      this.#at += 1;
    } else if (char === "/" && next === "/") {
      const end = source.indexOf("\n", this.#at);
      this.#take("comment", end === -1 ? source.length : end);
    } else if (char === "/" && next === "*") {
      const end = source.indexOf("*/", this.#at + 2);
      this.#take("comment", end === -1 ? source.length : end + 2);
    } else if (char === '"' || char === "'") {
      this.#take("string", this.#endOfQuoted(char));
    } else if (char === "`") {
      this.#takeTemplate();
    } else if (char === "/" && this.#regexMayStart()) {
      this.#take("regex", this.#endOfRegex());
    } else if (!this.#match("word", WORD) && !this.#match("number", NUMBER)) {
      this.#takeSign();
    }
  }

  #match(kind: TokenKind, pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source);
    if (found === null) return false;
    this.#take(kind, this.#at + found[0].length);
    return true;
  }

  #take(kind: TokenKind, end: number): void {
    const text = this.#source.slice(this.#at, end);
    const token = { kind, text, line: this.#line, at: this.#at, depth: this.#depth };
    (kind === "comment" ? this.comments : this.code).push(token);
    this.#at = end;
    for (const char of text) if (char === "\n") this.#line += 1;
  }

  #takeSign(): void {
    const char = this.#source.charAt(this.#at);
    if (char === "}" && this.#braces.at(-1) === true) {
      this.#braces.pop();
      this.#depth -= 1;
      this.#takeTemplate();
      return;
    }
    if (char === "}") this.#braces.pop();
    if (")]}".includes(char)) this.#depth -= 1;
    this.#match("sign", SIGN);
    if (char === "{") this.#braces.push(false);
    if ("([{".includes(char)) this.#depth += 1;
  }

  /** Takes a template's text up to its end or to its next `${`, which the closing brace resumes. */
  #takeTemplate(): void {
    let end = this.#at + 1;
    while (end < this.#source.length) {
      const char = this.#source.charAt(end);
      if (char === "\\") end += 1;
      else if (char === "`") break;
      else if (char === "$" && this.#source.charAt(end + 1) === "{") {
        this.#take("template", end + 2);
        this.#braces.push(true);
        this.#depth += 1;
        return;
      }
      end += 1;
    }
    this.#take("template", end + 1);
  }

  #endOfQuoted(quote: string): number {
    let end = this.#at + 1;
    while (end < this.#source.length && this.#source.charAt(end) !== quote) {
      end += this.#source.charAt(end) === "\\" ? 2 : 1;
    }
    return end + 1;
  }

  #endOfRegex(): number {
    let end = this.#at + 1;
    let inClass = false;
    while (end < this.#source.length) {
      const char = this.#source.charAt(end);
      if (char === "\\") end += 1;
      else if (char === "[") inClass = true;
      else if (char === "]") inClass = false;
      else if (char === "/" && !inClass) break;
      end += 1;
    }
    end += 1;
    while (/[a-z]/.test(this.#source.charAt(end))) end += 1;
    return end;
  }

  #regexMayStart(): boolean {
    const last = this.code.at(-1);
    if (last === undefined) return true;
    if (last.kind === "word") return BEFORE_REGEX.has(last.text);
    if (last.kind === "sign") return ![")", "]", "}"].includes(last.text);
    return last.kind === "template" && last.text.endsWith("${");
  }
}
