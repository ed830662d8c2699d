import { useState } from "preact/hooks";
import { exportTrace } from "../../server/traces";
import { showError } from "../../state/notices";
import { words } from "../../words";
import { download, fileName } from "../download";

/** Write what is seen as one file. It holds the words of the conversation, which is said before, unless they are left out. */
export function ExportInside({ id, title }: { id: string; title: string }) {
  const say = words.value;
  const [isAsked, setAsked] = useState(false);
  const [hasWords, setWords] = useState(true);
  if (!isAsked)
    return (
      <button type="button" class="quiet-button export-inside" onClick={() => setAsked(true)}>
        {say.exportInside}
      </button>
    );
  const write = () => {
    setAsked(false);
    exportTrace(id, hasWords).then((file) => download(fileName(title, "html"), file), showError);
  };
  return (
    <div class="inside-note" role="status">
      {hasWords && <p>{say.exportInsideHint}</p>}
      <label class="check">
        <input type="checkbox" checked={!hasWords} onChange={(event) => setWords(!event.currentTarget.checked)} />
        <span>{say.leaveOutWords}</span>
      </label>
      <button type="button" class="primary" onClick={write}>
        {say.writeFile}
      </button>
      <button type="button" class="plain" onClick={() => setAsked(false)}>
        {say.cancel}
      </button>
    </div>
  );
}
