/** Which message box belongs to which conversation. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { emptyConversation } from "../src/conversation";
import { show, startNew } from "../src/state/conversations";
import { changeDraft, draft, EMPTY_DRAFT, isDraftEmpty, promptWith } from "../src/state/draft";
import { current } from "../src/state/open-conversations";
import { generalInstructions } from "../src/state/stored";

beforeEach(() => {
  vi.stubGlobal("matchMedia", () => ({ matches: true }));
  vi.stubGlobal("fetch", async (path: string) => Response.json({ ...emptyConversation({}), id: path.split("/").at(-1) }));
  startNew();
});
afterEach(() => {
  vi.unstubAllGlobals();
  generalInstructions.value = "";
});

test("another conversation has an empty message box; the same one keeps what was typed", async () => {
  changeDraft({ text: "half a question" });
  await show(current.value.id);
  expect(draft.value.text).toBe("half a question");
  await show("another");
  expect([current.value.id, draft.value]).toEqual(["another", EMPTY_DRAFT]);
});

test("a new conversation begins with what is handed on to it, and else with nothing", () => {
  const summary = { name: "Summary", text: "They talked about otters." };
  startNew({ text: "Go on.", attachments: [summary] });
  expect(draft.value).toEqual({ text: "Go on.", attachments: [summary] });
  startNew();
  expect(isDraftEmpty.value).toBe(true);
});

test("what is counted is what would be sent, instructions and documents included", () => {
  generalInstructions.value = "Be brief.";
  expect(promptWith(draft.value)).toEqual([{ role: "system", content: "Be brief." }]); // no question yet
  changeDraft({ text: "Why?", attachments: [{ name: "a.txt", text: "long" }] });
  const documents = [{ name: "a.txt", text: "short" }];
  expect(promptWith({ ...draft.value, attachments: documents }).at(-1)).toEqual({ role: "user", content: '<document name="a.txt">\nshort\n</document>\n\nWhy?' });
});
