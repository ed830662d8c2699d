import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { bytes, duration, language, LANGUAGES, number, preferredLanguage } from "../src/words";
import { en } from "../src/words/en";
import { fr } from "../src/words/fr";
import { AGENTS } from "../src/words/agents";
import { COMPARE } from "../src/words/compare";
import { DOCUMENTS } from "../src/words/documents";
import { LOOK } from "../src/words/look";

const files = (folder: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(`${folder}/${entry.name}`) : [`${folder}/${entry.name}`],
  );
const code = files("src").filter((path) => /\.tsx?$/.test(path) && !path.includes("/words/")).map((path) => readFileSync(path, "utf8")).join("\n");

const OTHERS: { en: object; fr: object }[] = [COMPARE, DOCUMENTS, AGENTS];

test("French says everything English says", () => {
  expect(Object.keys(fr)).toEqual(Object.keys(en));
  expect(Object.keys(LOOK.fr)).toEqual(Object.keys(LOOK.en));
  for (const { en: english, fr: french } of OTHERS) expect(Object.keys(french)).toEqual(Object.keys(english));
  for (const names of ["approveModes", "states", "spentNames", "effects", "origins"] as const) expect(Object.keys(AGENTS.fr[names])).toEqual(Object.keys(AGENTS.en[names]));
  for (const [name, value] of Object.entries(LOOK.en)) if (typeof value === "object") expect(Object.keys(LOOK.fr[name as keyof typeof LOOK.fr])).toEqual(Object.keys(value));
  expect(fr.suggestions.length).toBe(en.suggestions.length);
  for (const names of ["effortNames", "endNames", "samplingNames", "taglines", "faults"] as const) expect(Object.keys(fr[names])).toEqual(Object.keys(en[names]));
});

/** Every sentence as it is read, with something in each gap. */
const sentences = (value: unknown): string[] =>
  typeof value === "string" ? [value]
  : typeof value === "function" ? [String((value as (...gaps: unknown[]) => unknown)("1", "2", "3")), String((value as (...gaps: unknown[]) => unknown)(2, 3, 4))]
  : Object.values(value as object).flatMap(sentences);

test("French is set as French is: narrow no-break spaces, curly apostrophes, decimal commas", () => {
  const said = [...sentences(fr), ...sentences(LOOK.fr), ...OTHERS.flatMap((each) => sentences(each.fr))];
  expect(said.length).toBeGreaterThan(200);
  expect(said.filter((each) => /[^\u202f\d/] ?[;!?»]|[^\u202f]:(?!\/)|«[^\u202f]/u.test(each))).toEqual([]);
  expect(said.filter((each) => /'|"|\d\.\d| {2}/.test(each))).toEqual([]);
});

test("a French reader finds none of the words that were translated one by one", () => {
  const said = [...sentences(fr), ...sentences(LOOK.fr), ...OTHERS.flatMap((each) => sentences(each.fr))].join("\n");
  for (const odd of ["défaut propre", "Revenir", "octets", "Vos mots", "Renvoyer", "Une autre réponse", "la plus longue", "Consigne\n", "Segmenteur", "Coupé à", "Garder ce qui tient", "sont gardés", "tout juste", "par lui-même", "Comme le système", "Ignorer", "Enter", "Shift", "Esc", "empaqueté", "Gabarit"]) {
    expect(said).not.toContain(odd);
  }
});

test("nothing was left in English", () => {
  const alike = Object.entries(en).filter(([name, value]) => typeof value === "string" && fr[name as keyof typeof fr] === value).map(([name]) => name);
  expect(alike.sort()).toEqual(["conversations", "direction", "message", "minP", "minutes", "systemPrompt", "topK", "topP", "total"]);
});

test("of what is said inside a model, nothing was left in English", () => {
  const alike = Object.entries(LOOK.en).filter(([name, value]) => typeof value === "string" && LOOK.fr[name as keyof typeof LOOK.fr] === value).map(([name]) => name);
  expect(alike.sort()).toEqual(["attention", "attribution", "experts", "logit"]);
});

test("where answers are compared, nothing was left in English", () => {
  const alike = Object.entries(COMPARE.en).filter(([name, value]) => typeof value === "string" && COMPARE.fr[name as keyof typeof COMPARE.fr] === value).map(([name]) => name);
  expect(alike.sort()).toEqual(["rating"]);
});

test("of documents and agents, nothing was left in English", () => {
  const alike = [DOCUMENTS, AGENTS].flatMap((each) => Object.entries(each.en).filter(([name, value]) => typeof value === "string" && (each.fr as Record<string, unknown>)[name] === value));
  expect(alike.map(([name]) => name)).toEqual(["agents"]);
});

test("every sentence is used", () => {
  const asked = new Set([...code.matchAll(/\b(?:say|value)\.(\w+)/g)].map((match) => match[1]));
  expect([LOOK, ...OTHERS].flatMap((each) => Object.keys(each.en)).filter((name) => !asked.has(name))).toEqual([]);
  const unused = Object.keys(en).filter((name) => !asked.has(name) && !code.includes(`"${name}"`) && !/Hint$|^effortNames$/.test(name));
  expect(unused).toEqual([]);
});

test("no sentence stands outside the dictionaries", () => {
  // Text between tags, and labels written as literals.
  const literal = [...code.matchAll(/>\s*([A-Z][a-z]+ [a-z ]+)\s*</g), ...code.matchAll(/(?:aria-label|title|placeholder|label)="([^"{]+)"/g)];
  expect(literal.map((match) => match[1])).toEqual([]);
});

test("the language is the one chosen, else the browser's, else English", () => {
  expect(preferredLanguage("fr", ["en"])).toBe("fr");
  expect(preferredLanguage(null, ["de-DE", "fr-CA", "en"])).toBe("fr");
  expect(preferredLanguage("xx", ["de"])).toBe("en");
});

test("numbers are written as each language writes them", () => {
  language.value = "fr";
  expect([number(12345.6, 1), bytes(1_500_000_000), duration(72)].map((text) => text.replace(/\s/g, " "))).toEqual(["12 345,6", "1,5 Go", "1 min 12 s"]);
  language.value = "en";
  expect([number(12345.6, 1), bytes(1_500_000_000), bytes(999), duration(4.25), duration(59.7)]).toEqual(["12,345.6", "1.5 GB", "999 byte", "4.3\u00a0s", "1\u00a0min 0\u00a0s"]);
  expect(Object.keys(LANGUAGES)).toEqual(["en", "fr"]);
});
