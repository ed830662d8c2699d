import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { isAbort } from "../../server/http";
import { countTokens, type Count } from "../../server/models";
import { draft, isDraftEmpty, promptWith } from "../../state/draft";
import { model } from "../../state/models";
import { current, generation, path } from "../../state/open-conversations";
import { systemPrompt } from "../../state/settings";
import { number, words } from "../../words";

const TYPING_PAUSE = 300; // milliseconds

/** Null: there is nothing to count. */
export type PromptCount = Count | "counting" | "unknown" | null;

/** How many tokens the conversation in view would be with the draft. A newer text cancels the older request. */
export function usePromptCount(): PromptCount {
  const count = useSignal<PromptCount>(null);
  const chosen = model.value?.agent ? undefined : model.value?.id; // what an agent reads is its own
  const isRunning = generation.value !== undefined;
  useEffect(() => {
    if (!chosen || isRunning || (isDraftEmpty.value && path.value.length === 0)) {
      count.value = null;
      return;
    }
    const abort = new AbortController();
    const pause = setTimeout(async () => {
      if (count.value === null || count.value === "unknown") count.value = "counting";
      try {
        count.value = await countTokens(chosen, promptWith(draft.value), abort.signal);
      } catch (problem) {
        if (!isAbort(problem)) count.value = "unknown";
      }
    }, TYPING_PAUSE);
    return () => {
      clearTimeout(pause);
      abort.abort();
    };
  }, [draft.value, chosen, current.value.leaf, current.value.id, systemPrompt.value, isRunning]);
  return count.value;
}

/** How many tokens have to go so that at least one of an answer has room; 0 if none, or if the count is not known. */
export function tokensOver(count: PromptCount): number {
  return count === null || typeof count === "string" ? 0 : Math.max(0, count.count - count.max_model_len + 1);
}

/** The share of the model's context that is taken. */
export function Meter({ count }: { count: PromptCount }) {
  const say = words.value;
  if (count === null) return <span id="context" class="meter" />;
  if (typeof count === "string") {
    return (
      <span id="context" class="meter">
        {count === "counting" ? say.counting : say.cannotCount}
      </span>
    );
  }
  const share = Math.min(1, count.count / count.max_model_len);
  return (
    <span id="context" class={share >= 1 ? "meter full" : "meter"}>
      <svg class="gauge" viewBox="0 0 20 20" aria-hidden="true">
        <circle cx="10" cy="10" r="7.5" />
        <circle cx="10" cy="10" r="7.5" pathLength="100" class="filled" stroke-dasharray={`${share * 100} 100`} />
      </svg>
      <span class="meter-text">{say.tokensOf(number(count.count), number(count.max_model_len))}</span>
    </span>
  );
}
