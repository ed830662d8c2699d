import { useState } from "preact/hooks";
import { key } from "../../server/http";
import { connect } from "../../state/connecting";
import { isKeyNeeded } from "../../state/session";
import { words } from "../../words";
import { Sheet } from "./sheet";

/** A server that people share asks for a key. */
export function KeyPanel() {
  const say = words.value;
  const [text, setText] = useState("");
  return (
    <Sheet title={say.keyTitle} place="centre" onClose={() => (isKeyNeeded.value = false)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          key.set(text.trim());
          isKeyNeeded.value = false;
          void connect();
        }}
      >
        <p>{key.get() ? say.keyWrong : say.keyHint}</p>
        <label class="field">
          <span>{say.keyLabel}</span>
          <input type="password" autocomplete="off" value={text} data-first onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <div class="row-of-buttons end">
          <button type="submit" class="primary">
            {say.save}
          </button>
        </div>
      </form>
    </Sheet>
  );
}
