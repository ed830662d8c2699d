/** Which file of the page may import which, types included. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { parseSync } from "vite";
import { expect, test } from "vitest";

type Imports = ReadonlyMap<string, string[]>;

/** Paths of our own files that the code of `file` imports, as the code writes them: without an ending. */
function importsOf(file: string, code: string): string[] {
  const { staticImports, staticExports, dynamicImports } = parseSync(file, code).module;
  const requested = [
    ...staticImports.map((each) => each.moduleRequest.value),
    ...staticExports.flatMap((each) => each.entries.flatMap(({ moduleRequest }) => moduleRequest?.value ?? [])),
    ...dynamicImports.map(({ moduleRequest: { start, end } }) => code.slice(start + 1, end - 1)),
  ];
  return [...new Set(requested.filter((each) => each.startsWith(".")).map((each) => normalize(join(dirname(file), each))))];
}

/** A way from a file back to itself, or null. */
function circle(imports: Imports): string[] | null {
  const ended = new Set<string>(); // no circle begins here
  const follow = (file: string, way: string[]): string[] | null => {
    if (way.includes(file)) return [...way.slice(way.indexOf(file)), file];
    if (ended.has(file)) return null;
    for (const next of imports.get(file) ?? []) {
      const found = follow(next, [...way, file]);
      if (found) return found;
    }
    ended.add(file);
    return null;
  };
  for (const file of imports.keys()) {
    const found = follow(file, []);
    if (found) return found;
  }
  return null;
}

function importsUnder(folder: string): Imports {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => /\.tsx?$/.test(name)).map((name) => join(folder, name));
  const names = new Map(files.flatMap((file) => [[file.replace(/\.tsx?$/, ""), file], [file.replace(/\/index\.ts$/, ""), file]]));
  return new Map(files.map((file) => [file, importsOf(file, readFileSync(file, "utf8")).flatMap((each) => names.get(each) ?? [])]));
}

test("no file of the page imports itself by way of others", () => {
  const imports = importsUnder("src");
  expect(imports.get("src/main.tsx")).toContain("src/components/app.tsx");
  expect(imports.get("src/main.tsx")).toContain("src/words/index.ts");
  expect(circle(imports)).toBeNull();
});

test("a circle is found, wherever it begins and however it is imported", () => {
  const code = { "a.ts": 'import { b } from "./b";', "b.ts": 'import type { C } from "./c";', "c.ts": 'export { d } from "./d/e";', "d/e.ts": 'import("../b");' };
  const imports = new Map(Object.entries(code).map(([file, text]) => [file, importsOf(file, text).map((each) => `${each}.ts`)]));
  expect(circle(imports)).toEqual(["b.ts", "c.ts", "d/e.ts", "b.ts"]);
  imports.set("d/e.ts", []);
  expect(circle(imports)).toBeNull();
});

/** A folder of src may import those before it. The files beside the folders are first; words may be imported by all.
 * Figures and views are of an exported file, too: they know of no server and no state. */
const FOLDERS = ["words", "", "figures", "views", "server", "state", "components"];
const folderOf = (file: string) => /^src\/(\w+)\//.exec(file)?.[1] ?? "";

function wrongImports(imports: Imports): string[] {
  return [...imports].flatMap(([file, targets]) =>
    targets
      .filter((target) => FOLDERS.indexOf(folderOf(target)) > FOLDERS.indexOf(folderOf(file)))
      .map((target) => `${file} may not import ${target}`),
  );
}

test("a folder of the page imports only those below it", () => {
  const imports = new Map(importsUnder("src"));
  for (const each of ["src/main.tsx", "src/exported.tsx"]) imports.delete(each); // begin everything
  expect([...new Set([...imports.keys()].map(folderOf))].sort()).toEqual([...FOLDERS].sort());
  expect(wrongImports(imports)).toEqual([]);
  expect(wrongImports(new Map([["src/server/a.ts", ["src/where.ts", "src/state/b.ts"]]]))).toEqual(["src/server/a.ts may not import src/state/b.ts"]);
});
