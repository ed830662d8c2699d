import { useState } from "preact/hooks";
import { exportTrace } from "../../server/traces";
import { showError } from "../../state/notices";
import { words } from "../../words";
import { download, fileName } from "../download";

/** Write what is seen as one file. It holds the words of the conversation, which is said before. */
export function ExportInside({ id, title }: { id: string; title: string }) {
  const say = words.value;
  const [isAsked, setAsked] = useState(false);
  if (!isAsked)
    return (
      <button type="button" class="quiet-button export-inside" onClick={() => setAsked(true)}>
        {say.exportInside}
      </button>
    );
  const write = () => {
    setAsked(false);
    exportTrace(id).then((file) => download(fileName(title, "html"), file), showError);
  };
  return (
    <div class="inside-note" role="status">
      <p>{say.exportInsideHint}</p>
      <button type="button" class="primary" onClick={write}>
        {say.writeFile}
      </button>
      <button type="button" class="plain" onClick={() => setAsked(false)}>
        {say.cancel}
      </button>
    </div>
  );
}
