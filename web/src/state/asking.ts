/** What a reader may ask of the model: an answer, another one, a summary; or that it stop. */
import { newId, withMessage, type Attachment, type Message } from "../conversation";
import { words } from "../words";
import { startNew } from "./conversations";
import type { Draft } from "./draft";
import { generate } from "./generating";
import { current, generation, openConversation } from "./open-conversations";
import { withTitle } from "./saving";
import { settings } from "./settings";
import { editing, focusComposer } from "./view";

const SUMMARY_TOKENS = 500;

export function send(text: string, attachments: Attachment[]): void {
  void generate(addQuestion(current.value.leaf, text, attachments));
}

/** Another wording of a question: a branch beside the old one. */
export function resend(message: Message, text: string): void {
  editing.value = null;
  void generate(addQuestion(message.parent, text, message.attachments ?? []));
}

/** Another answer to the same question: a branch beside the old one. */
export function regenerate(message: Message): void {
  if (message.parent !== null) void generate(message.parent);
}

export function stop(): void {
  generation.value?.controller.abort();
  focusComposer(); // the button that was pressed is gone
}

/** The model writes a summary, in view like any answer. A new conversation begins with it as a document, and with `draft`. */
export async function continueWithSummary({ text, attachments }: Draft): Promise<void> {
  const { id } = current.value;
  const question = addQuestion(current.value.leaf, words.value.summaryRequest, []);
  const answer = await generate(question, { truncation: "auto", sampling: { ...settings.value.sampling, max_tokens: SUMMARY_TOKENS } });
  if (answer?.ended !== "stop" && answer?.ended !== "length") return; // stopped or failed: the conversation says so
  const summary = { name: words.value.summaryName(openConversation(id)?.title ?? ""), text: answer.text ?? "" };
  if (current.value.id !== id) return; // another conversation is in view by now
  startNew({ text, attachments: [summary, ...attachments] });
}

/** A new question in the conversation in view; returns its id. */
function addQuestion(parent: string | null, text: string, attachments: Attachment[]): string {
  const question: Message = {
    id: newId(), parent, role: "user", text, created: new Date().toISOString(),
    ...(attachments.length > 0 ? { attachments } : {}),
  };
  current.value = withTitle(withMessage(current.value, question));
  return question.id;
}
