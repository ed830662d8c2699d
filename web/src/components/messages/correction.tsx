import { useSignal } from "@preact/signals";
import { useEffect, useId, useRef } from "preact/hooks";
import type { Message } from "../../conversation";
import { isComposing, isSend } from "../../keys";
import { endCorrecting, removeCorrection, saveCorrection, type Correcting } from "../../state/correcting";
import { focusComposer } from "../../state/view";
import { words } from "../../words";

const MOST_LINES = 24; // shown at once

/** The answer as it should have been. The answer itself stays as it is. */
export function CorrectionEditor({ message, earlier }: { message: Message; earlier: Correcting["earlier"] }) {
  const say = words.value;
  const explained = useId();
  const text = useSignal(earlier?.wanted ?? message.text);
  const isChanged = text.value.trim() !== "" && text.value !== message.text;
  const save = () => {
    if (isChanged) void saveCorrection(message, text.value);
  };
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => area.current?.focus(), []);
  return (
    <div class="editor correction">
      <textarea
        ref={area}
        aria-label={say.correctedAnswer}
        aria-describedby={explained}
        value={text.value}
        rows={Math.min(MOST_LINES, text.value.split("\n").length + 1)}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => onKeyDown(event, save)}
      />
      <p id={explained} class="note">
        {say.correctionExplained}
      </p>
      <div class="editor-tools">
        {earlier && (
          <button type="button" class="plain" onClick={() => void removeCorrection(earlier)}>
            {say.removeCorrection}
          </button>
        )}
        <button type="button" class="plain" onClick={close}>
          {say.cancel}
        </button>
        <button type="button" class="primary" disabled={!isChanged} onClick={save}>
          {say.keepCorrection}
        </button>
      </div>
    </div>
  );
}

function close(): void {
  endCorrecting();
  focusComposer();
}

function onKeyDown(event: KeyboardEvent, save: () => void): void {
  if (isSend(event) && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    save();
  } else if (event.key === "Escape" && !isComposing(event)) {
    event.stopPropagation();
    close();
  }
}
