/** The owner says what an answer should have been. It is kept on this machine, to learn from. */
import { signal } from "@preact/signals";
import { pathTo, toWire, type Message } from "../conversation";
import { textAt } from "../receipt";
import { deleteCorrection, listCorrections, postCorrection, type Correction, type KeptCorrection } from "../server/corrections";
import { words } from "../words";
import { announcement, notice, showError } from "./notices";
import { current } from "./open-conversations";
import { systemPrompt } from "./settings";

/** The answer that is being corrected. `earlier`: the correction that there is of it. */
export interface Correcting {
  message: string;
  asked: Correction["messages"];
  earlier?: KeptCorrection;
}

export const correcting = signal<Correcting | null>(null);

/** Begins with the earlier correction of the same answer, if there is one. */
export async function beginCorrecting(message: Message): Promise<void> {
  const asked = toWire(pathTo(current.value, message.parent), systemPrompt.value);
  try {
    const same = JSON.stringify(asked);
    const earlier = (await listCorrections()).find((each) => each.given === message.text && JSON.stringify(asSaid(each)) === same);
    correcting.value = { message: message.id, asked, ...(earlier ? { earlier } : {}) };
  } catch (problem) {
    showError(problem, words.value.correctionFailed);
  }
}

export function endCorrecting(): void {
  correcting.value = null;
}

export async function saveCorrection(message: Message, wanted: string): Promise<void> {
  if (correcting.value?.message !== message.id) return;
  const receipt = message.receipt && textAt(message.receipt, "tokens", "output_digest");
  const said: Correction = {
    messages: correcting.value.asked,
    given: message.text,
    wanted,
    ...(message.model ? { model: message.model } : {}),
    ...(receipt ? { receipt } : {}),
  };
  await carriedOut(postCorrection(said), words.value.correctionKept);
}

export async function removeCorrection({ id }: KeptCorrection): Promise<void> {
  await carriedOut(deleteCorrection(id), words.value.correctionRemoved);
}

async function carriedOut(asked: Promise<unknown>, text: string): Promise<void> {
  try {
    await asked;
    endCorrecting();
    announcement.value = text;
    notice.value = { text, isError: false };
  } catch (problem) {
    showError(problem, words.value.correctionFailed);
  }
}

/** The messages as the page sends them: role and content, in this order. */
const asSaid = ({ messages }: KeptCorrection) => messages.map(({ role, content }) => ({ role, content }));
