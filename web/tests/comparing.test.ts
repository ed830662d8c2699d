/** What differs between two answers, and which key says what. */
import { expect, test } from "vitest";
import { verdictOf } from "../src/components/comparing/ballot";
import { diffWords, firstDifference } from "../src/words-diff";

const shown = (one: string, other: string) => diffWords(one, other)?.map((words) => words.map(({ text, isShared }) => (isShared ? text : `[${text}]`)).join(""));

test("words that only one text has are marked, and the texts stay whole", () => {
  expect(shown("The cat sat.", "The dog sat.")).toEqual(["The [cat ]sat.", "The [dog ]sat."]);
  expect(shown("a b c d", "b c d e")).toEqual(["[a ]b c d", "b c d[ e]".replace("d[ e]", "d [e]")]);
  expect(shown("", "one")).toEqual(["", "[one]"]);
  expect(shown("the same", "the same")).toEqual(["the same", "the same"]);
  const [one, other] = ["  Two\n\nlines  here", "Two lines there"];
  const words = diffWords(one, other);
  expect(words?.map((each) => each.map(({ text }) => text).join(""))).toEqual([one, other]);
});

test("texts that are too long for a table are not compared", () => {
  expect(diffWords("a ".repeat(3001), "b")).toBeUndefined();
});

test("the first word that differs, white space aside", () => {
  expect(firstDifference("The cat sat", "The\ncat lay")).toBe(2);
  expect(firstDifference("The cat", "The cat sat")).toBe(2);
  expect(firstDifference("The cat", "The cat\n")).toBeUndefined();
  expect(firstDifference("", "")).toBeUndefined();
});

test("keys are verdicts about answers that there are", () => {
  expect(["1", "2", "3", "0", "x", "X", "5", "a", "Enter"].map((key) => verdictOf(key, 2))).toEqual(["first", "second", undefined, "tie", "both_bad", "both_bad", undefined, undefined, undefined]);
  expect(verdictOf("4", 4)).toBe("fourth");
});
