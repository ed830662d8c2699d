import { isShortening, keepWhatFits } from "../../state/attaching";
import { draft } from "../../state/draft";
import { path } from "../../state/open-conversations";
import { leavesOutOldest } from "../../state/settings";
import { number, words } from "../../words";
import { ContextFull } from "../context-full";
import { Icon } from "../icons";

/** The draft is that many tokens too long for the model. */
export function TooLong({ tokens }: { tokens: number }) {
  const say = words.value;
  return (
    <div class="too-long" role="alert">
      <Icon name="warning" />
      <span>{leavesOutOldest.value ? say.leavingOut : say.tooLong(number(tokens))}</span>
      {draft.value.attachments.length > 0 && !leavesOutOldest.value && (
        <button type="button" class="plain" disabled={isShortening.value} onClick={() => void keepWhatFits()}>
          {isShortening.value ? say.fitting : say.keepWhatFits}
        </button>
      )}
      {path.value.length > 0 && <ContextFull draft={draft.value} />}
    </div>
  );
}
