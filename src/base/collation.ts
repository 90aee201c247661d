/**
 * An order of texts for people: letters first, then accents, then case, as dictionaries have it. It
 * is part of the state of every node, so it must be the same on every machine and for ever;
 * `Intl.Collator` is not, its tables change with each runtime. This order looks at letters whose
 * decomposition and lower case Unicode will not change any more: Latin, Greek and Cyrillic. All
 * other characters count by their UTF-16 code units. A better table gets a new version number.
 *
 * Keys have levels as in the Unicode Collation Algorithm (UTS 10, section 4), and none of its data.
 *
 * @module
 */

import { QueryError } from "./errors.ts";

/** How texts are ordered, and which are equal. */
export interface Collation {
  /** Of the order's tables. */
  readonly version: 1;
  /** What counts: 1: letters, 2: and accents, 3: and case. */
  readonly strength: 1 | 2 | 3;
}

/** First and last code points that are decomposed and folded: all in them are assigned. */
const KNOWN: readonly (readonly [number, number])[] = [
  [0x41, 0x5a],
  [0x61, 0x7a],
  [0xc0, 0x24f],
  [0x300, 0x36f],
  [0x374, 0x374],
  [0x37e, 0x37e],
  [0x385, 0x387],
  [0x388, 0x38a],
  [0x38c, 0x38c],
  [0x38e, 0x3a1],
  [0x3a3, 0x3ce],
  [0x400, 0x481],
  [0x48a, 0x52f],
  [0x1e00, 0x1eff],
  [0x1f00, 0x1f15],
  [0x1f18, 0x1f1d],
  [0x1f20, 0x1f45],
  [0x1f48, 0x1f4d],
  [0x1f50, 0x1f57],
  [0x1f59, 0x1f59],
  [0x1f5b, 0x1f5b],
  [0x1f5d, 0x1f5d],
  [0x1f5f, 0x1f7d],
  [0x1f80, 0x1fb4],
  [0x1fb6, 0x1fc4],
  [0x1fc6, 0x1fd3],
  [0x1fd6, 0x1fdb],
  [0x1fdd, 0x1fef],
  [0x1ff2, 0x1ff4],
  [0x1ff6, 0x1ffe],
  [0x2126, 0x2126],
  [0x212a, 0x212b],
];
/** Above all of them. */
const KNOWN_END = 0x2200;
const IS_KNOWN = Uint8Array.from({ length: KNOWN_END }, (_, code) => {
  return KNOWN.some(([first, last]) => code >= first && code <= last) ? 1 : 0;
});
const RUN = new RegExp(
  `[${KNOWN.map((range) => range.map((code) => String.fromCharCode(code)).join("-")).join("")}]+`,
  "g",
);
const FIRST_MARK = 0x300;
const LAST_MARK = 0x36f;
/** Marks that stand between a letter and those above it, in canonical order. */
const BELOW =
  "[\\u0316-\\u0319\\u031b-\\u0333\\u0334-\\u033c\\u0345\\u0347-\\u0349\\u034d\\u034e\\u0353-\\u0356\\u0359\\u035a]*";
/** Letters of their own, though they decompose. */
const OWN_LETTERS = new RegExp(
  `([иИуУ])(${BELOW})(\u0306)|([іІ])(${BELOW})(\u0308)|([гГкК])(${BELOW})(\u0301)`,
  "g",
);
/** Behind all that begins with the letter before it. */
const LATER = "\uffff";
/** Tells a letter that is written as others from those. */
const VARIANT = "\u0370";
/** Letters that stand elsewhere than their code points. */
const PLACES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    ...{ ß: "ss", æ: "ae", œ: "oe", ĳ: "ij", ø: "o", ł: "l", ſ: "s", ς: "σ" },
    ...{ đ: `d${LATER}`, ð: `d${LATER}${LATER}`, ħ: `h${LATER}`, ı: `i${LATER}` },
    ...{ ŋ: `n${LATER}`, ŧ: `t${LATER}` },
    ...{ ґ: `г${LATER}`, ѓ: `г${LATER}${LATER}`, ђ: `д${LATER}`, є: `е${LATER}`, ѕ: `з${LATER}` },
    ...{ і: `и${LATER}`, ї: `и${LATER}${LATER}`, ј: `й${LATER}`, ќ: `к${LATER}` },
    ...{ љ: `л${LATER}`, њ: `н${LATER}`, ћ: `т${LATER}`, ў: `у${LATER}`, џ: `ч${LATER}` },
  }),
);
/** Ends a level; texts have none of it in their keys. */
const END = "\u0000";
/** A letter without accents; a small one. */
const PLAIN = "\u0001";
const CAPITAL = "\u0002";
const ESCAPED = new Map([
  ["\u0000", "\u0001\u0001"],
  ["\u0001", "\u0001\u0002"],
]);

/** Reads an untrusted collation. Throws QueryError. */
export function readCollation(value: unknown): Collation | undefined {
  if (value === undefined || value === null) return undefined;
  const fields: { readonly [name: string]: unknown } =
    typeof value === "object" ? { ...value } : {};
  const { version = 1, strength, ...others } = fields;
  const isStrength = strength === 1 || strength === 2 || strength === 3;
  if (isStrength && version === 1 && Object.keys(others).length === 0) return { version, strength };
  throw new QueryError("Cannot use the collation: it is {strength: 1, 2 or 3}, of version 1", {
    remedy: "1: letters count, 2: and accents, 3: and case. There are no locales",
  });
}

/** Whether two collations order texts in the same way. */
export function isSameCollation(a: Collation | undefined, b: Collation | undefined): boolean {
  return a?.strength === b?.strength && a?.version === b?.version;
}

/** A text whose UTF-16 code units order as the collation orders the texts. */
export function collationKey(text: string, { strength }: Collation): string {
  const decomposed = text.replace(RUN, (run) => {
    return run.normalize("NFD").replace(OWN_LETTERS, (...[, ...found]) => {
      const [letter = "", below = "", mark = ""] = found.filter((part) => typeof part === "string");
      return (letter + mark).normalize("NFC") + below;
    });
  });
  let [letters, accents, cases] = ["", "", ""];
  for (let at = 0; at < decomposed.length; at += 1) {
    const character = decomposed.charAt(at);
    const code = decomposed.charCodeAt(at);
    if (code >= FIRST_MARK && code <= LAST_MARK) {
      accents += character;
      continue;
    }
    const small = isKnown(code) ? character.toLowerCase() : character;
    const place = PLACES.get(small);
    letters += place ?? ESCAPED.get(character) ?? small;
    accents += place === undefined ? PLAIN : PLAIN + VARIANT;
    cases += small === character ? PLAIN : CAPITAL;
  }
  const second = strength === 1 ? "" : withoutEnd(accents);
  const third = strength < 3 ? "" : withoutEnd(cases);
  if (third !== "") return letters + END + second + END + third;
  return second === "" ? letters : letters + END + second;
}

function isKnown(code: number): boolean {
  return code < KNOWN_END && IS_KNOWN[code] === 1;
}

/** What is as usual at the end of a level says nothing. */
function withoutEnd(level: string): string {
  let end = level.length;
  while (end > 0 && level.charAt(end - 1) === PLAIN) end -= 1;
  return level.slice(0, end);
}
