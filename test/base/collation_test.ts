/**
 * The order of texts for people: what comes before what, and what counts as equal. The order is
 * part of every node's state: keys are compared with those written down here.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Collation, collationKey, readCollation } from "../../src/base/collation.ts";
import { QueryError } from "../../src/base/errors.ts";

import { checksumOfKeys, KEYS_OF_VERSION_1 } from "./collation_keys.ts";

function by(strength: 1 | 2 | 3): (text: string) => string {
  return (text) => collationKey(text, { version: 1, strength });
}

function sorted(texts: readonly string[], strength: 1 | 2 | 3 = 3): string[] {
  const key = by(strength);
  return [...texts].reverse().sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}

describe("order", () => {
  test.each<readonly [string, readonly string[]]>([
    ["case decides last", ["a", "A", "ab", "aB", "Ab", "AB", "b", "B"]],
    ["accents decide before case", ["cote", "Cote", "coté", "Coté", "côte", "Côte", "côté"]],
    ["digits and signs come before letters", ["", " a", "-a", "1", "10", "2", "a", "z"]],
    ["German", ["Arzt", "Ärzte", "Asse", "Aße", "Au", "Masse", "Maße", "Zahn"]],
    ["French", ["ad", "aduler", "ae", "æ", "af", "oe", "œ", "of"]],
    ["Polish and Danish letters", ["la", "ła", "lb", "oa", "øa", "ob"]],
    ["Croatian and Icelandic", ["da", "dz", "đa", "ða", "ea", "za", "þa"]],
    ["Turkish", ["hz", "ia", "İa", "iz", "ıa", "ja"]],
    ["Russian", ["едь", "ёж", "езда", "и", "ия", "йод", "к", "я"]],
    ["Ukrainian", ["га", "гя", "ґа", "да", "ея", "єа", "жа", "ия", "іа", "їа", "йа"]],
    [
      "Serbian",
      ["дя", "ђа", "еа", "ия", "ја", "ка", "ља", "ма", "ња", "тя", "ћа", "у", "ча", "џа"],
    ],
    ["polytonic Greek", ["ἀγορᾶς", "ἀγορω", "ῥήτωρ", "της", "τὴς", "τῆς", "τις", "τον", "τῶν"]],
    ["Greek", ["άλφα", "αλφάβητο", "βήτα", "σος", "σοσα", "τα"]],
    ["accents as their code points", ["de", "dế", "dẽ", "dẻ", "đa", "e"]],
    ["other scripts by code units", ["z", "я", "א", "ก", "あ", "中"]],
  ])("%s", (_name, texts) => {
    expect(sorted(texts)).toEqual([...texts]);
  });
});

describe("equal", () => {
  test.each<readonly [string, string, number]>([
    ["é", "e\u0301", 4],
    ["ệ", "e\u0302\u0323", 4],
    ["й", "и\u0306", 4],
    ["й\u0323", "и\u0323\u0306", 4],
    ["Ὺ", "Υ\u0300", 4],
    ["ῶ", "ω\u0342", 4],
    ["\u212b", "Å", 4],
    ["\u2126", "Ω", 4],
    ["\u0385", "\u00a8\u0301", 4],
    ["της", "τῆς", 2],
    ["Å", "A\u030a", 4],
    ["a", "A", 3],
    ["Straße", "STRAẞE", 3],
    ["a", "á", 2],
    ["strasse", "Straße", 2],
    ["Łódź", "lodz", 2],
    ["σος", "ΣΟΣ", 2],
    ["a", "b", 1],
    ["и", "й", 1],
    ["a", "a\u0000", 1],
    ["a\u0000", "a\u0001", 1],
    ["a\u0000\u0001", "a\u0001\u0000", 1],
    ["\ud800", "\udfff", 1],
  ])("%j and %j differ at strength %d first", (a, b, first) => {
    for (const strength of [1, 2, 3] as const) {
      const key = by(strength);
      expect([strength, key(a) === key(b)]).toEqual([strength, strength < first]);
    }
  });

  test("a stronger key begins with the weaker one", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const [one, two, three] = [by(1)(text), by(2)(text), by(3)(text)];
        expect([three.startsWith(two), two.startsWith(one)]).toEqual([true, true]);
      }),
    );
  });

  test("canonically equal texts have one key", () => {
    const letters = fc.constantFrom(
      ...("aAeEuzßøДдиИуёйї" + "\u0300\u0301\u0306\u0308\u0323αςΣέῶΰᾷΏΡ ẫṩ"),
    );
    fc.assert(
      fc.property(fc.array(letters), (list) => {
        const text = list.join("");
        expect(by(3)(text.normalize("NFD"))).toBe(by(3)(text.normalize("NFC")));
      }),
      { numRuns: 5000 },
    );
  });

  test("texts in any order give one order: keys are transitive by construction", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "binary" }), { maxLength: 8 }), (texts) => {
        const keys = texts.map(by(3));
        expect(sorted(texts).map(by(3))).toEqual(keys.sort());
      }),
    );
  });
});

test("the keys of version 1, for ever", () => {
  for (const strength of [1, 2, 3] as const) {
    const found = checksumOfKeys({ version: 1, strength });
    expect([strength, found]).toEqual([strength, KEYS_OF_VERSION_1[strength]]);
  }
  expect(by(3)("Ärger")).toBe("arger\u0000\u0001\u0308\u0000\u0002");
});

describe("a collation from outside", () => {
  test.each<readonly [unknown, Collation | undefined]>([
    [undefined, undefined],
    [null, undefined],
    [{ strength: 1 }, { version: 1, strength: 1 }],
    [
      { strength: 3, version: 1 },
      { version: 1, strength: 3 },
    ],
  ])("%j", (given, read) => {
    expect(readCollation(given)).toEqual(read);
  });

  test("others are refused", () => {
    const wrong = [
      ...[{}, [], 1, "en", { strength: 0 }, { strength: 4 }, { strength: "1" }],
      ...[{ locale: "en" }, { strength: 1, locale: "en" }, { strength: 1, version: 2 }],
    ];
    for (const given of wrong) expect(() => readCollation(given)).toThrow(QueryError);
  });
});
