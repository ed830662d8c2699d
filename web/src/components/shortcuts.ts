/** The shortcuts that panels/shortcuts-panel.tsx lists. */
import type { Message } from "../conversation";
import { altKey, isComposing } from "../keys";
import { regenerate, stop } from "../state/asking";
import { startNew } from "../state/conversations";
import { generation, lastAnswer } from "../state/open-conversations";
import { isKeyNeeded, mayUseAgents, mayUseDocuments } from "../state/session";
import { closePanel, editing, focusComposer, focusSearch, hideSidebarIfNarrow, panel, sidebarShown } from "../state/view";
import { copyText } from "./clipboard";

export function onShortcut(event: KeyboardEvent): void {
  if (isComposing(event)) return; // the keys are the input method's, Escape too
  if (event.key === "Escape") {
    if (!panel.value && !isKeyNeeded.value) escape(); // an open dialog closes itself
    return;
  }
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  action();
}

function escape(): void {
  if (editing.value) {
    editing.value = null;
    focusComposer();
  } else if (generation.value) stop();
  else hideSidebarIfNarrow();
}

function actionOf(event: KeyboardEvent): (() => unknown) | undefined {
  const hasCommand = event.ctrlKey || event.metaKey;
  if (hasCommand === event.altKey) return undefined;
  return hasCommand ? WITH_COMMAND[event.key.toLowerCase()] : WITH_ALT[altKey(event)];
}

const WITH_COMMAND: Record<string, () => void> = {
  k: () => {
    closePanel();
    sidebarShown.value = true;
    focusSearch();
  },
  "/": () => (panel.value = panel.value?.kind === "shortcuts" ? null : { kind: "shortcuts" }),
};

const WITH_ALT: Record<string, () => unknown> = {
  n: () => startNew(),
  s: () => (sidebarShown.value = !sidebarShown.value),
  m: () => (panel.value = { kind: "models" }),
  o: () => mayUseDocuments.value && (panel.value = { kind: "documents" }),
  a: () => mayUseAgents.value && (panel.value = { kind: "runs" }),
  ",": () => (panel.value = { kind: "settings" }),
  i: () => withLastAnswer((message) => (panel.value = { kind: "receipt", message: message.id })),
  r: () => withLastAnswer(regenerate),
  c: () => withLastAnswer((message) => void copyText(message.text)),
};

function withLastAnswer(action: (message: Message) => void): void {
  const message = lastAnswer();
  if (message) action(message);
}
