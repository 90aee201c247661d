/**
 * Documents as CSV and TSV.
 *
 * @module
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  type CellFormat,
  Columns,
  cellFormatOf,
  cellsOf,
  delimiterOf,
  headerOf,
  lineOf,
  rowsOf,
} from "../../cli/csv.ts";
import { UsageError } from "../../cli/output.ts";

/** Whole characters, as the reader of a file gives them. */
async function* pieces(text: string, size = 7): AsyncGenerator<string, void> {
  const characters = [...text];
  for (let at = 0; at < characters.length; at += size) {
    yield characters.slice(at, at + size).join("");
  }
}

function rows(text: string, format: CellFormat = "csv") {
  const [firstLine = ""] = text.split("\n", 1);
  const delimiter = delimiterOf(format, firstLine);
  return rowsOf(pieces(text), { format, delimiter, idField: "id" });
}

async function read(text: string, format: CellFormat = "csv"): Promise<object[]> {
  const found: object[] = [];
  for await (const row of rows(text, format)) found.push(row.document());
  return found;
}

/** The text of a table with all columns of the documents. */
function written(documents: readonly object[], format: CellFormat = "csv"): string {
  const columns = new Columns();
  for (const document of documents) columns.add(document);
  const paths = columns.list();
  const lines = documents.map((document) => lineOf(cellsOf(document, paths), format));
  return lineOf(headerOf(paths), format) + lines.join("");
}

test.each([
  ["a.csv", "", "csv"],
  ["A.CSV", '{"a":1}', "csv"],
  ["a.tsv", "", "tsv"],
  ["a.txt", "id,name,age", "csv"],
  ["a.txt", "id;name", "csv"],
  ["-", '"id","first name"', "csv"],
  ["-", "id,größe,na(me)", "csv"],
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
    const header = "id,a,b,c,d,e,f,g,h,i";
    const row = "007,42,-1.5,1.50,true,12345678901234567890,1e+21,,x y,null";
    expect(await read(`${header}\n${row}\n`)).toEqual([
      {
        ...{ id: "007", a: 42, b: -1.5, c: "1.50", d: true },
        ...{ e: 12345678901234567890n, f: 1e21, h: "x y", i: null },
      },
    ]);
    expect(await read("a,b,c,d\n-0,99999999999999999999999,False,1e5\n")).toEqual([
      { a: "-0", b: "99999999999999999999999", c: "False", d: "1e5" },
    ]);
    expect(await read("id,n\n12345678901234567890,1\n")).toEqual([
      { id: "12345678901234567890", n: 1 },
    ]);
  });

  test("quotes mark a text, unless those around the header say nothing", async () => {
    expect(await read('id,a,b\n"1","42",""\n')).toEqual([{ id: "1", a: "42", b: "" }]);
    expect(await read('"id","a","b"\n"1","42",""\n')).toEqual([{ id: 1, a: 42 }]);
  });

  test("quotes, line feeds in cells, a byte order mark, line ends of other systems", async () => {
    const text = '\ufeffid,note\r\n1,"a ""b"", c\nd"\r\n\r\n2,e\r\n';
    expect(await read(text)).toEqual([
      { id: 1, note: 'a "b", c\nd' },
      { id: 2, note: "e" },
    ]);
    expect(await read('id\tnote\n1\ta "b", c\n', "tsv")).toEqual([{ id: 1, note: 'a "b", c' }]);
    expect(await read("id;note\n1;a,b\n")).toEqual([{ id: 1, note: "a,b" }]);
  });

  test("dots lead into objects; JSON in cells is read with its tags", async () => {
    const text =
      'id,a.b,a.c.d,tags,born,constructor.name\n1,x,2,"[1,""y""]","{""$date"":""2026-01-01T00:00:00Z""}",n\n';
    const [document] = await read(text);
    expect(document).toEqual({
      ...{ id: 1, a: { b: "x", c: { d: 2 } }, tags: [1, "y"] },
      born: new Date("2026-01-01T00:00:00Z"),
      constructor: { name: "n" },
    } as object);
    expect(Object.name).toBe("Object");
    expect(await read("id,note\n1,{not json}\n")).toEqual([{ id: 1, note: "{not json}" }]);
  });

  test("rows know the line that they begin in", async () => {
    const lines: number[] = [];
    for await (const row of rows('id,n\n1,"a\nb"\n\n2,c\n   \n3,d\n')) lines.push(row.line);
    expect(lines).toEqual([2, 5, 7]);
  });

  test.each([
    ["a,a\n1,2\n", 'Two columns of the file are called "a"'],
    ["a,\n1,2\n", "column 2"],
    ["a,a.b\n1,2\n", "contradict"],
    ["__proto__,b\n1,2\n", "__proto__"],
    ["a,b\n1,2\n\n1,2,3\n", "line 4: it has 3 cells, and the header 2"],
    ['a,b\n1,2\n3,"4\n5,6\n', "row that begins in line 3: Quote Not Closed"],
    ['a,b\n1,2\n3,5" pipe\n', "row that begins in line 3: Invalid Opening Quote"],
    ['{"a":1,"b":2}\n', "Invalid Opening Quote"],
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

  test("all rows before a wrong one are given", async () => {
    const good = Array.from({ length: 2000 }, (_, i) => `${i},x\n`).join("");
    for (const wrong of ["1,2,3\n", '1,"abc"x\n', '1,"open\n']) {
      let seen = 0;
      let error: unknown;
      try {
        for await (const row of rows(`id,n\n${good}${wrong}`)) seen += row.line > 0 ? 1 : 0;
      } catch (cause) {
        error = cause;
      }
      expect([seen, (error as Error).message]).toEqual([2000, expect.stringContaining("2002")]);
    }
  });
});

describe("writing", () => {
  test("paths of objects; what differs in being an object is one column", () => {
    const documents = [
      { id: "a", n: 5n, address: { city: "x", zip: null }, tags: [1], empty: {} },
      { id: "b", born: new Date("2026-01-01T00:00:00Z"), photo: new Uint8Array([1, 2]) },
      { id: "c", mixed: { a: 1 } },
      { id: "d", mixed: null },
    ];
    const columns = new Columns();
    for (const document of documents) columns.add(document);
    expect(columns.list()).toEqual([
      ...["id", "n", "address.city", "address.zip", "tags", "empty", "born", "photo", "mixed"],
    ]);
    expect(written(documents).split("\n")[0]).toBe(columns.list().join(","));
    expect(() => new Columns().add({ "a.b": 1 })).toThrow("has a dot");
    expect(() => new Columns().add({ "": 1 })).toThrow("has no name");
  });

  test.each(["csv", "tsv"] as const)("%s: documents come back as they were", async (format) => {
    const text = fc.oneof(
      fc.string({ unit: "grapheme" }),
      fc.constantFrom(
        ...["", "42", "007", "true", "null", "[1]", '{"a":1}', '"x"', " x ", "1e5", "a,b", "a;b"],
        ...[
          "2026-01-01T00:00:00.000Z",
          "-0",
          "line\nfeed",
          'quo"te',
          "=1+1",
          "12345678901234567890",
        ],
      ),
    );
    const value = fc.oneof(
      text,
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Object.is(n, -0)),
      fc.boolean(),
      fc.constant(null),
      fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
      fc.date({ min: new Date(0), max: new Date("9999-01-01"), noInvalidDate: true }),
      fc.array(fc.oneof(text, fc.integer()), { maxLength: 3 }),
      fc.uint8Array({ maxLength: 4 }),
    );
    const document = fc.record(
      {
        id: fc.oneof(text, fc.integer()),
        a: value,
        b: fc.record({ c: value }, { noNullPrototype: true }),
        d: value,
      },
      { requiredKeys: ["id"], noNullPrototype: true },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(document, { minLength: 1, maxLength: 4 }), async (documents) => {
        const isClean = !JSON.stringify(documents, (_n, v) =>
          typeof v === "bigint" ? "" : v,
        ).includes("\\r");
        if (!isClean) return;
        expect(await read(written(documents, format), format)).toEqual(documents);
      }),
      { numRuns: 400 },
    );
  });
});
