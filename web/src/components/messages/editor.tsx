import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Message } from "../../conversation";
import { isComposing, isSend } from "../../keys";
import { resend } from "../../state/asking";
import { editing, focusComposer } from "../../state/view";
import { words } from "../../words";

const MOST_LINES = 16; // shown at once

/** A question is reworded; the old wording stays as another version. */
export function Editor({ message }: { message: Message }) {
  const say = words.value;
  const text = useSignal(message.text);
  const submit = () => {
    if (text.value.trim() || message.attachments) resend(message, text.value);
  };
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    area.current?.focus();
    area.current?.setSelectionRange(message.text.length, message.text.length);
  }, []);
  return (
    <div class="editor">
      <textarea
        ref={area}
        aria-label={say.editMessage}
        value={text.value}
        rows={Math.min(MOST_LINES, message.text.split("\n").length + 1)}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => onKeyDown(event, submit)}
      />
      <div class="editor-tools">
        <button type="button" class="plain" onClick={() => (editing.value = null)}>
          {say.cancel}
        </button>
        <button type="button" class="primary" onClick={submit}>
          {say.saveAndSend}
        </button>
      </div>
    </div>
  );
}

function onKeyDown(event: KeyboardEvent, submit: () => void): void {
  if (isSend(event)) {
    event.preventDefault();
    submit();
  } else if (event.key === "Escape" && !isComposing(event)) {
    event.stopPropagation();
    editing.value = null;
    focusComposer();
  }
}
