import { remove, removeAll } from "../../state/conversations";
import { isKeyNeeded } from "../../state/session";
import { panel } from "../../state/view";
import { words } from "../../words";
import { Confirmation } from "./confirmation";
import { InsidePanel } from "../looking/inside-panel";
import { KeyPanel } from "./key-panel";
import { ConfirmDiscard, ConfirmFetch, ConfirmRemove } from "./confirm-fetch";
import { ModelsPanel } from "./models-panel";
import { ObtainPanel } from "./obtain-panel";
import { DeletionPanel } from "../documents/deletion-panel";
import { ConfirmRemoval, DocumentsPanel } from "../documents/documents-panel";
import { PlacePanel } from "../documents/place-panel";
import { ConfirmRemoveRun, RunPanel, RunsPanel } from "../agents/runs-panel";
import { ReceiptPanel } from "./receipt-panel";
import { RenamePanel } from "./rename-panel";
import { SettingsPanel } from "./settings-panel";
import { ShortcutsPanel } from "./shortcuts-panel";
import { TrainingPanel } from "./training-panel";

/** The panel that is open, if one is. */
export function Panels() {
  const shown = panel.value;
  if (isKeyNeeded.value) return <KeyPanel />;
  switch (shown?.kind) {
    case undefined:
      return null;
    case "settings":
      return <SettingsPanel />;
    case "shortcuts":
      return <ShortcutsPanel />;
    case "models":
      return <ModelsPanel />;
    case "receipt":
      return <ReceiptPanel message={shown.message} />;
    case "inside":
      return <InsidePanel message={shown.message} />;
    case "rename":
      return <RenamePanel id={shown.id} title={shown.title} />;
    case "delete":
      return <ConfirmDelete id={shown.id} title={shown.title} />;
    case "delete-all":
      return <ConfirmDeleteAll />;
    case "training":
      return <TrainingPanel />;
    case "obtain":
      return <ObtainPanel />;
    case "fetch":
      return <ConfirmFetch asked={shown} />;
    case "remove":
      return <ConfirmRemove model={shown.model} size={shown.size} />;
    case "discard":
      return <ConfirmDiscard model={shown.model} size={shown.size} />;
    case "documents":
      return <DocumentsPanel />;
    case "remove-document":
      return <ConfirmRemoval collection={shown.collection} document={shown.document} />;
    case "deletion":
      return <DeletionPanel receipt={shown.receipt} />;
    case "place":
      return <PlacePanel place={shown.place} back={shown.back} />;
    case "runs":
      return <RunsPanel />;
    case "run":
      return <RunPanel key={shown.run} run={shown.run} />;
    case "remove-run":
      return <ConfirmRemoveRun run={shown.run} />;
    case "link":
      return <ConfirmLink href={shown.href} />;
  }
}

function ConfirmDelete({ id, title }: { id: string; title: string }) {
  const say = words.value;
  return <Confirmation title={say.deleteQuestion} text={say.deleteExplained} detail={title} yes={say.delete} act={() => void remove(id)} isFinal />;
}

function ConfirmDeleteAll() {
  const say = words.value;
  return <Confirmation title={say.deleteAllQuestion} text={say.deleteAllExplained} yes={say.deleteAll} act={() => void removeAll()} isFinal />;
}

function ConfirmLink({ href }: { href: string }) {
  const say = words.value;
  const open = () => void window.open(href, "_blank", "noopener,noreferrer");
  return <Confirmation title={say.linkQuestion} text={say.linkExplained} detail={href} yes={say.open} act={open} />;
}
