/** The model writes a title for a conversation that has none but the beginning of its first question. */
import { asTitle, pathTo, titleFor, toWire, type Conversation } from "../conversation";
import { completeOnce } from "../server/answers";
import { getConversation } from "../server/conversations";
import { isAbort, ServerError } from "../server/http";
import { words } from "../words";
import { rename } from "./conversations";
import { openConversation } from "./open-conversations";
import { systemPrompt } from "./settings";
import { titlesByModel } from "./stored";

const TITLE_TOKENS = 24;

let request = new AbortController();

/** Somebody asks a question meanwhile: its answer comes first. */
export function cancelTitle(): void {
  request.abort();
}

export async function requestTitle(id: string, model: string): Promise<void> {
  const conversation = openConversation(id) ?? (await getConversation(id));
  if (!titlesByModel.value || !hasFirstAnswerOnly(conversation)) return;
  request = new AbortController();
  try {
    const messages = [...toWire(pathTo(conversation, conversation.leaf), systemPrompt.value), { role: "user" as const, content: words.value.titleRequest }];
    const title = asTitle(await completeOnce({ model, messages, maxTokens: TITLE_TOKENS }, request.signal));
    if (title) await rename(id, title);
  } catch (problem) {
    if (!isAbort(problem) && !(problem instanceof ServerError)) throw problem; // the beginning of the question stays
  }
}

function hasFirstAnswerOnly({ messages, title }: Conversation): boolean {
  const [question] = messages;
  return question !== undefined && messages.length === 2 && title === titleFor(question.text, question.attachments);
}
