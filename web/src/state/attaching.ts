/** Documents are attached to the message box, and shortened when the model does not hold them. */
import { signal } from "@preact/signals";
import type { Attachment } from "../conversation";
import { comingFormat, decodeText, LARGEST_FILE, longestThatFits } from "../documents";
import { countTokens } from "../server/models";
import { bytes, number, words } from "../words";
import { changeDraft, draft, promptWith } from "./draft";
import { model } from "./models";
import { notice, showError } from "./notices";
import { settings } from "./settings";

const ANSWER_TOKENS = 1024;

export async function attachFiles(files: Iterable<File>): Promise<void> {
  for (const file of files) {
    const document = await readDocument(file);
    if (document) attach(document);
  }
}

export function attachPaste(text: string): void {
  attach({ name: words.value.pastedText, text: text.replace(/\r\n?/g, "\n") });
}

export function detach(document: Attachment): void {
  changeDraft({ attachments: draft.value.attachments.filter((each) => each !== document) });
}

function attach(document: Attachment): void {
  changeDraft({ attachments: [...draft.value.attachments, document] });
}

/** Null for a file that is refused; the page says why. */
async function readDocument(file: File): Promise<Attachment | null> {
  const say = words.value;
  if (file.size > LARGEST_FILE) {
    notice.value = { text: say.fileTooLarge(file.name, bytes(LARGEST_FILE)), isError: true };
    return null;
  }
  const content = new Uint8Array(await file.arrayBuffer());
  const decoded = decodeText(content);
  if (decoded === null) {
    const format = comingFormat(content, file.name);
    notice.value = { text: format ? say.formatToCome(file.name, format) : say.notText(file.name), isError: true };
    return null;
  }
  if (decoded.isGuess) notice.value = { text: say.readAs(file.name, "Windows-1252"), isError: false };
  return { name: file.name, text: decoded.text };
}

export const isShortening = signal(false);

/** Shorten the longest document to what the model holds, and say so in the document and on the page. */
export async function keepWhatFits(): Promise<void> {
  const chosen = model.value?.id;
  if (!chosen) return;
  const longest = draft.value.attachments.reduce((a, b) => (b.text.length > a.text.length ? b : a));
  isShortening.value = true;
  try {
    const kept = await longestThatFits(longest, (shortened) => leavesRoom(chosen, withCut(longest, shortened)));
    if (kept === null) {
      notice.value = { text: words.value.nothingFits, isError: true };
      return;
    }
    changeDraft({ attachments: withCut(longest, kept) });
    notice.value = { text: words.value.keptPart(longest.name, number(kept.text.length), number(longest.text.length)), isError: false };
  } catch (problem) {
    showError(problem);
  } finally {
    isShortening.value = false;
  }
}

/** The documents of the draft, the longest of them shortened; the cut is marked in its text. */
function withCut(longest: Attachment, kept: Attachment): Attachment[] {
  const mark = words.value.cutMark(number(kept.text.length), number(longest.text.length));
  const shortened = kept.text.length === longest.text.length ? kept : { ...kept, text: `${kept.text}\n${mark}` };
  return draft.value.attachments.map((each) => (each === longest ? shortened : each));
}

/** Whether the draft with these documents leaves room for an answer: as long as was asked for, at most a quarter of the context. */
async function leavesRoom(chosen: string, attachments: Attachment[]): Promise<boolean> {
  const { count, max_model_len: context } = await countTokens(chosen, promptWith({ ...draft.value, attachments }));
  return count + Math.min(settings.value.sampling?.max_tokens ?? ANSWER_TOKENS, Math.floor(context / 4)) <= context;
}
