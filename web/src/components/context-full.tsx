import { continueWithSummary } from "../state/asking";
import type { Draft } from "../state/draft";
import { generation } from "../state/open-conversations";
import { leaveOutOldest, leavesOutOldest } from "../state/settings";
import { focusComposer } from "../state/view";
import { words } from "../words";

/** What may be done about a conversation that fills the model's context. `draft` goes into the conversation with a summary. */
export function ContextFull({ draft }: { draft: Draft }) {
  const say = words.value;
  return (
    <span class="ways-on">
      <button
        type="button"
        class="plain"
        onClick={() => {
          leaveOutOldest(!leavesOutOldest.value);
          focusComposer();
        }}
      >
        {leavesOutOldest.value ? say.leaveOutNothing : say.leaveOutOldest}
      </button>
      <button type="button" class="plain" disabled={generation.value !== undefined} onClick={() => void continueWithSummary(draft)}>
        {say.continueWithSummary}
      </button>
    </span>
  );
}
