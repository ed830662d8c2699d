import { useState } from "preact/hooks";
import { LONGEST_TITLE } from "../../conversation";
import { rename } from "../../state/conversations";
import { closePanel } from "../../state/view";
import { words } from "../../words";
import { Sheet } from "./sheet";

export function RenamePanel({ id, title }: { id: string; title: string }) {
  const say = words.value;
  const [text, setText] = useState(title);
  return (
    <Sheet title={say.rename} place="centre" onClose={closePanel}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          closePanel();
          void rename(id, text);
        }}
      >
        <label class="field">
          <span>{say.title}</span>
          <input type="text" value={text} maxLength={LONGEST_TITLE} data-first onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <div class="row-of-buttons end">
          <button type="button" class="plain" onClick={closePanel}>
            {say.cancel}
          </button>
          <button type="submit" class="primary">
            {say.save}
          </button>
        </div>
      </form>
    </Sheet>
  );
}
