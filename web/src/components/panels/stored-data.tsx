import { exportConversations, importConversations, isExport } from "../../server/conversations";
import { refreshList } from "../../state/conversation-list";
import { notice, showError } from "../../state/notices";
import { host, where } from "../../state/session";
import { panel } from "../../state/view";
import { words } from "../../words";
import { Button } from "../button";
import { download } from "../download";
import { Icon } from "../icons";

/** What the server stores: where that is, and how it is taken out, brought in and deleted. */
export function StoredData() {
  const say = words.value;
  return (
    <section>
      <h3>{say.data}</h3>
      <p class="quiet">{say.dataHints[where.value](host)}</p>
      <div class="column-of-buttons">
        <Button icon="export" shown label={say.exportAll} onClick={() => void exportAll()} />
        <ImportButton />
        <Button icon="trash" class="danger" shown label={say.deleteAll} onClick={() => (panel.value = { kind: "delete-all" })} />
      </div>
    </section>
  );
}

function ImportButton() {
  return (
    <label class="button file-button">
      <Icon name="plus" />
      <span>{words.value.importAll}</span>
      <input
        type="file"
        accept=".json,application/json"
        class="off-screen"
        onChange={({ currentTarget: input }) => {
          const [file] = input.files ?? [];
          if (file) void importFile(file).then(() => (input.value = "")); // the same file may be chosen again
        }}
      />
    </label>
  );
}

async function exportAll(): Promise<void> {
  try {
    download("ouvert-conversations.json", await exportConversations());
  } catch (problem) {
    showError(problem);
  }
}

async function importFile(file: File): Promise<void> {
  const value = await readJson(file);
  if (!isExport(value)) {
    notice.value = { text: words.value.notAnExport, isError: true };
    return;
  }
  try {
    const { added, unchanged, copied } = await importConversations(value);
    notice.value = { text: words.value.imported(added.length, unchanged.length, copied.length), isError: false };
    await refreshList();
  } catch (problem) {
    showError(problem);
  }
}

/** Undefined for what is no JSON. */
async function readJson(file: File): Promise<unknown> {
  try {
    return JSON.parse(await file.text());
  } catch {
    return undefined;
  }
}
