/** Saving over a server that answers when the test says so. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { emptyConversation, withMessage, type Conversation } from "../src/conversation";
import { notice } from "../src/state/notices";
import { current, update } from "../src/state/open-conversations";
import { save, stopSaving } from "../src/state/saving";
import { session } from "../src/state/session";

let stored: Conversation | undefined;
let written: Conversation[];
let answers: (() => void)[]; // of writes that the server has not answered yet

function respond(method: string, body: string | undefined): Response {
  if (method === "GET") return Response.json(stored ?? { conversations: [], damaged: [] });
  const sent = JSON.parse(body ?? "") as Conversation;
  if ((stored?.revision ?? 0) !== sent.revision) return Response.json({ error: { message: "changed meanwhile" } }, { status: 409 });
  stored = { ...sent, revision: sent.revision + 1 };
  written.push(stored);
  return Response.json(stored);
}

const say = (conversation: Conversation, text: string): Conversation =>
  withMessage(conversation, { id: text, parent: conversation.leaf, role: "user", text, created: "2026-11-25T00:00:00Z" });
const texts = (conversation: Conversation | undefined) => conversation?.messages.map(({ text }) => text);

beforeEach(() => {
  [stored, written, answers] = [undefined, [], []];
  session.value = { opened_from: "this_machine", who: "owner", needs_key: false, reads_stored: true, compares: false, scopes: [] };
  current.value = say(emptyConversation({}), "first");
  vi.stubGlobal("fetch", async (_: string, { method, body }: { method: string; body?: string }) => {
    if (method === "PUT") await new Promise<void>((answer) => answers.push(answer));
    return respond(method, body);
  });
});
afterEach(() => vi.unstubAllGlobals());

/** The server answers its next write. */
async function letWrite(): Promise<void> {
  await vi.waitFor(() => expect(answers.length).toBe(1));
  answers.shift()?.();
}

test("what changes during a write is written after it, and only its last state", async () => {
  const { id } = current.value;
  const saved = save(id);
  for (const text of ["second", "third"]) {
    update(id, (conversation) => say(conversation, text));
    void save(id);
  }
  await letWrite();
  await letWrite();
  await saved;
  expect(written.map(texts)).toEqual([["first"], ["first", "second", "third"]]);
  expect(written.map(({ revision }) => revision)).toEqual([1, 2]);
});

test("what another window saved meanwhile is kept, here and in what is saved next", async () => {
  const { id } = current.value;
  stored = { ...say(say(emptyConversation({}), "first"), "theirs"), id, revision: 4 };
  const saved = save(id);
  update(id, (conversation) => say(conversation, "mine"));
  void save(id);
  await letWrite(); // refused: the server has revision 4
  await letWrite();
  await letWrite();
  await saved;
  expect(texts(stored)?.toSorted()).toEqual(["first", "mine", "theirs"]);
  expect(texts(current.value)?.toSorted()).toEqual(["first", "mine", "theirs"]);
  expect(notice.value?.isError).toBe(false);
});

test("a conversation that is to be deleted is not written again", async () => {
  const { id } = current.value;
  void save(id);
  update(id, (conversation) => say(conversation, "second"));
  void save(id);
  const stopped = stopSaving(id);
  await letWrite();
  await stopped;
  expect(written.map(texts)).toEqual([["first"]]);
  expect(answers).toEqual([]);
});

test("nothing is written for a reader for whom nothing is stored", async () => {
  session.value = { opened_from: "unknown", who: "guest", needs_key: false, reads_stored: false, compares: false, scopes: [] };
  await save(current.value.id);
  expect([written, answers]).toEqual([[], []]);
});

test("a conversation without a title is saved under the beginning of its first question", async () => {
  const saved = save(current.value.id);
  await letWrite();
  await saved;
  expect(written[0]?.title).toBe("first");
});
