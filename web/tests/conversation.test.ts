import { describe, expect, test } from "vitest";
import * as tree from "../src/conversation";
import type { Conversation, Message } from "../src/conversation";

const message = (id: string, parent: string | null, role: tree.Role = "user", more: Partial<Message> = {}): Message => ({
  id, parent, role, text: id, created: "2026-11-25T00:00:00Z", ...more,
});

// q1 ─ a1 ─ q2 ─ a2
//    │    └ q2b ─ a2b
//    └ a1b
const talk: Conversation = {
  ...tree.emptyConversation({}),
  messages: [
    message("q1", null), message("a1", "q1", "assistant", { ended: "stop" }), message("q2", "a1"), message("a2", "q2", "assistant", { ended: "stop" }),
    message("a1b", "q1", "assistant"), message("q2b", "a1"), message("a2b", "q2b", "assistant"),
  ],
  leaf: "a2",
};
const ids = (messages: Message[]) => messages.map(({ id }) => id);

describe("the tree", () => {
  test("a branch is the way from the first message to its leaf", () => {
    expect(ids(tree.pathTo(talk, "a2"))).toEqual(["q1", "a1", "q2", "a2"]);
    expect(tree.pathTo(talk, null)).toEqual([]);
  });
  test("alternatives share a parent and a role", () => {
    expect(ids(tree.siblings(talk, message("a1", "q1", "assistant")))).toEqual(["a1", "a1b"]);
    expect(ids(tree.siblings(talk, message("q2b", "a1")))).toEqual(["q2", "q2b"]);
  });
  test("a version is shown at the newest end of its branch", () => {
    expect(tree.newestLeaf(talk, "a1")).toBe("a2b");
    expect(tree.newestLeaf(talk, "q2")).toBe("a2");
    expect(tree.newestLeaf(talk, "a1b")).toBe("a1b");
  });
  test("an added message becomes the leaf and changes nothing else", () => {
    const more = tree.withMessage(talk, message("q3", "a2"));
    expect(more.leaf).toBe("q3");
    expect(more.messages.slice(0, -1)).toEqual(talk.messages);
    expect(talk.leaf).toBe("a2");
  });
});

describe("two windows", () => {
  test("both keep what they wrote", () => {
    const mine = tree.withMessage({ ...talk, revision: 3 }, message("mine", "a2"));
    const theirs = tree.withMessage({ ...talk, revision: 4, title: "theirs" }, message("theirs", "a2"));
    const merged = tree.merge({ ...mine, title: "mine" }, theirs);
    expect(ids(merged.messages)).toEqual([...ids(talk.messages), "theirs", "mine"]);
    expect([merged.revision, merged.title, merged.leaf]).toEqual([4, "mine", "mine"]);
  });
  test("of an answer that is still being written, the longer one counts", () => {
    const at = (text: string) => tree.withChanged(talk, "a2", { text });
    expect(tree.find(tree.merge(at("long answer"), at("long")), "a2")?.text).toBe("long answer");
    expect(tree.find(tree.merge(at("long"), at("long answer")), "a2")?.text).toBe("long answer");
  });
});

describe("what is sent", () => {
  test("documents come before the question, under their names, which cannot close the quotes", () => {
    const asked = message("q", null, "user", { text: "Why?", attachments: [{ name: 'a">\n.txt', text: "one" }] });
    expect(tree.asSent(asked)).toBe('<document name="a\'\'\'.txt">\none\n</document>\n\nWhy?');
  });
  test("the system prompt is first, if there is one; answers without a word are left out", () => {
    const path = [message("q1", null), message("a1", "q1", "assistant", { text: "" }), message("q2", "a1")];
    expect(tree.toWire(path, "  ")).toEqual([{ role: "user", content: "q1" }, { role: "user", content: "q2" }]);
    expect(tree.toWire(path, "Be kind")[0]).toEqual({ role: "system", content: "Be kind" });
  });
});

describe("titles and names", () => {
  test("a title is one line of at most 61 characters and no half characters", () => {
    expect(tree.titleFor("  Hello\n world ")).toBe("Hello world");
    expect(tree.titleFor("", [{ name: "a.txt", text: "" }])).toBe("a.txt");
    expect(tree.titleFor("word ".repeat(40))).toMatch(/^(word )+word…$/);
    expect(tree.titleFor(`${"x".repeat(59)}😀${"x".repeat(20)}`).isWellFormed()).toBe(true);
    expect(tree.titleFor("x".repeat(500)).length).toBeLessThanOrEqual(61);
  });
  test("ids are what the server takes, and do not repeat", () => {
    const made = Array.from({ length: 500 }, tree.newId);
    expect(made.every((id) => /^[a-z0-9]{16,32}$/.test(id))).toBe(true);
    expect(new Set(made).size).toBe(500);
  });
  test("a title that a model worded is one plain line", () => {
    expect(['**Title: "Otters in rivers".**\nThey', "« Les loutres »", "Titre : Des mots", "   ", "x".repeat(90)].map(tree.asTitle)).toEqual([
      "Otters in rivers", "Les loutres", "Des mots", "", `${"x".repeat(30)}…`,
    ]);
  });
  test("instructions for all conversations come before those of one", () => {
    expect(tree.instructions(" Be kind. ", undefined)).toBe("Be kind.");
    expect(tree.instructions("Be kind.", "Rhyme.")).toBe("Be kind.\n\nRhyme.");
    expect(tree.instructions("", "  ")).toBe("");
  });
  test("an answer without an end was interrupted, and an export says so", () => {
    const cut = { ...talk, title: "T", messages: talk.messages.map((each) => (each.text === "a2" ? (({ ended: _, ...rest }) => rest)(each) : each)) };
    expect(cut.messages.filter(tree.isInterrupted).map((each) => each.text)).toContain("a2");
    expect(tree.toMarkdown(cut, { interrupted: "Cut.", user: "You", assistant: "Model" })).toMatch(/a2\n\n\*Cut\.\*\n$/);
  });
  test("Markdown holds the branch in view", () => {
    expect(tree.toMarkdown({ ...talk, title: "T" }, { interrupted: "Cut.", user: "You", assistant: "Model" })).toBe(
      "# T\n\n## You\n\nq1\n\n## Model\n\na1\n\n## You\n\nq2\n\n## Model\n\na2\n",
    );
  });
});
