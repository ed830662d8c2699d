import type { RefObject } from "preact";
import { useLayoutEffect } from "preact/hooks";
import { LONG_PASTE } from "../../documents";
import { isComposing, isSend } from "../../keys";
import { attachPaste } from "../../state/attaching";
import { changeDraft, draft } from "../../state/draft";
import { generation, path } from "../../state/open-conversations";
import { editing } from "../../state/view";
import { words } from "../../words";

/** Where the next question is written. It grows with its text; files and long texts that are pasted become documents. */
export function DraftText(props: {
  area: RefObject<HTMLTextAreaElement | null>;
  submit: () => void;
  attach: (files: Iterable<File>) => void;
  isUnderFile: boolean;
}) {
  const say = words.value;
  const { text } = draft.value;
  useLayoutEffect(() => {
    const area = props.area.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }, [text]);
  return (
    <textarea
      id="composer"
      ref={props.area}
      rows={1}
      aria-label={say.message}
      aria-describedby="context"
      placeholder={props.isUnderFile ? say.dropHere : say.messageHint}
      value={text}
      onInput={(event) => changeDraft({ text: event.currentTarget.value })}
      onPaste={(event) => onPaste(event, props.attach)}
      onKeyDown={(event) => {
        if (isSend(event)) {
          event.preventDefault();
          props.submit();
        } else if (event.key === "ArrowUp" && !isComposing(event)) editLastQuestion(event);
      }}
    />
  );
}

function onPaste(event: ClipboardEvent, attach: (files: Iterable<File>) => void): void {
  const files = event.clipboardData?.files;
  const text = event.clipboardData?.getData("text/plain") ?? "";
  if (files && files.length > 0) {
    event.preventDefault();
    attach(files);
  } else if (text.length > LONG_PASTE) {
    event.preventDefault();
    attachPaste(text);
  }
}

/** Only from an empty box: elsewhere the arrow moves the cursor. */
function editLastQuestion(event: KeyboardEvent): void {
  const last = path.value.findLast((each) => each.role === "user");
  if (draft.value.text !== "" || generation.value || !last) return;
  event.preventDefault();
  editing.value = last.id;
}
