/**
 * Documents as CSV and TSV.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { cellFormatOf, cellsOf, lineOf, pathsOf, rowsOf } from "../../cli/csv.ts";
import { UsageError } from "../../cli/output.ts";

async function* pieces(text: string, size = 7): AsyncGenerator<string, void> {
  const characters = [...text];
  for (let at = 0; at < characters.length; at += size) {
    yield characters.slice(at, at + size).join("");
  }
}

async function read(text: string, format: "csv" | "tsv" = "csv"): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const row of rowsOf(pieces(text), format)) found.push(row.document());
  return found;
}

test.each([
  ["a.csv", "", "csv"],
  ["A.CSV", '{"a":1}', "csv"],
  ["a.tsv", "", "tsv"],
  ["a.txt", "id,name,age", "csv"],
  ["-", '"id","first name"', "csv"],
  ["-", "id\tname", "tsv"],
  ["a.json", '{"a":1,"b":2}', undefined],
  ["a.json", "[1,2]", undefined],
  ["a.txt", "hello world", undefined],
  ["a.txt", "1,2,3", undefined],
  ["a.txt", 'id":1,"b":2}', undefined],
  ["a.txt", "", undefined],
] as const)("%s with the first line %j is %s", (name, line, format) => {
  expect(cellFormatOf(name, line)).toBe(format as never);
});

describe("reading", () => {
  test("cells by what they look like, and only if they are written back the same", async () => {
    const header = "id,a,b,c,d,e,f,g,h";
    const [document] = await read(
      `${header}\n007,42,-1.5,1.50,true,12345678901234567890,1e5,,x y\n`,
    );
    expect(document).toEqual({
      ...{ id: "007", a: 42, b: -1.5, c: "1.50", d: true },
      ...{ e: 12345678901234567890n, f: "1e5", h: "x y" },
    });
    expect(await read("a,b,c\n-0,99999999999999999999999,False\n")).toEqual([
      { a: "-0", b: "99999999999999999999999", c: "False" },
    ]);
  });

  test("quotes, line feeds in cells, a byte order mark, line ends of other systems", async () => {
    const text = '\ufeff"id","note"\r\n1,"a ""b"", c\nd"\r\n\r\n2,e\r\n';
    expect(await read(text)).toEqual([
      { id: 1, note: 'a "b", c\nd' },
      { id: 2, note: "e" },
    ]);
    expect(await read('id\tnote\n1\ta "b", c\n', "tsv")).toEqual([{ id: 1, note: 'a "b", c' }]);
  });

  test("dots lead into objects; JSON in cells is read with its tags", async () => {
    const text =
      'id,a.b,a.c.d,tags,born\n1,x,2,"[1,""y""]","{""$date"":""2026-01-01T00:00:00Z""}"\n';
    expect(await read(text)).toEqual([
      {
        ...{ id: 1, a: { b: "x", c: { d: 2 } }, tags: [1, "y"] },
        born: new Date("2026-01-01T00:00:00Z"),
      },
    ]);
    expect(await read("id,note\n1,{not json}\n")).toEqual([{ id: 1, note: "{not json}" }]);
  });

  test("rows know the line that they begin in", async () => {
    const lines: number[] = [];
    for await (const row of rowsOf(pieces('id,n\n1,"a\nb"\n\n2,c\n3,d\n'), "csv"))
      lines.push(row.line);
    expect(lines).toEqual([2, 4, 6]);
  });

  test.each([
    ["a,a\n1,2\n", 'Two columns of the file are called "a"'],
    ["a,\n1,2\n", "column 2"],
    ["a,a.b\n1,2\n", "contradict"],
    ["__proto__,b\n1,2\n", "__proto__"],
    ["a,b\n1,2\n1,2,3\n", "line 3"],
    ['a,b\n1,"2\n', "line"],
    ["", "no header"],
    ['a,b\n1,"{""$date"":""x""}"\n', 'cell "b" in line 2'],
  ])("%j is refused: %s", async (text, part) => {
    const error = await read(text).then(
      () => undefined,
      (cause: Error) => cause,
    );
    expect(error).toBeInstanceOf(UsageError);
    expect(error?.message).toContain(part);
  });
});

describe("writing", () => {
  test("paths of objects, JSON for arrays, ISO dates, empty for null", () => {
    const document = {
      ...{ id: "a", n: 5n, address: { city: "x", zip: null }, tags: [1], empty: {} },
      ...{ born: new Date("2026-01-01T00:00:00Z"), photo: new Uint8Array([1, 2]) },
    };
    const paths = pathsOf(document);
    expect(paths).toEqual([
      "id",
      "n",
      "address.city",
      "address.zip",
      "tags",
      "empty",
      "born",
      "photo",
    ]);
    expect(cellsOf(document, [...paths, "nothing", "id.x"])).toEqual([
      ...["a", "5", "x", "", "[1]", "{}", "2026-01-01T00:00:00.000Z", "AQI=", "", ""],
    ]);
    expect(() => pathsOf({ "a.b": 1 })).toThrow("has a dot");
  });

  test.each(["csv", "tsv"] as const)("%s: texts come back as they were", async (format) => {
    const cell = fc.string({ unit: "binary" }).filter((text) => {
      // What looks like another value, or is nothing, has no text of its own.
      const isOther = /^(?:true|false|-?\d.*|[[{].*)$/s.test(text) || text === "";
      return !isOther && !text.includes("\r") && text.isWellFormed();
    });
    await fc.assert(
      fc.asyncProperty(cell, cell, async (a, b) => {
        if (format === "tsv" && /["\t\n]/.test(a + b)) return;
        const text = lineOf(["a", "b"], format) + lineOf([a, b], format);
        expect(await read(text, format)).toEqual([{ a, b }]);
      }),
    );
  });
});
