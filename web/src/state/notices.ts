/** What the page tells its reader: a fault, or something that happened. */
import { signal } from "@preact/signals";
import { ServerError } from "../server/http";
import { number, words } from "../words";
import { isKeyNeeded } from "./session";

export interface Notice {
  text: string;
  isError: boolean;
}

export const notice = signal<Notice | null>(null);
export const announcement = signal(""); // spoken by screen readers

/** `phrase` puts a fault into a sentence that says what could not be done. */
export function showError(problem: unknown, phrase: (fault: string) => string = (fault) => fault): void {
  if (isKeyRefused(problem)) {
    isKeyNeeded.value = true;
    return;
  }
  const isUnreachable = problem instanceof ServerError && problem.status === 0; // the sentence for it says all
  notice.value = { text: isUnreachable ? errorText(problem) : phrase(errorText(problem)), isError: true };
}

/** A fault in the reader's language if we know its code, else in the words of the server. */
export function errorText(problem: unknown): string {
  if (!(problem instanceof ServerError)) return problem instanceof Error ? problem.message : String(problem);
  if (problem.status === 0) return words.value.unreachable;
  const { n_prompt_tokens: prompt = 0, n_ctx: context = 0 } = problem.detail;
  const sentence = problem.code === undefined ? undefined : words.value.faults[problem.code]?.(number(prompt), number(context));
  return sentence || problem.message;
}

export const isKeyRefused = (problem: unknown): boolean => problem instanceof ServerError && problem.status === 401;
