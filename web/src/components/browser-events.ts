import { followAddress, isComparing } from "../state/comparing";
import { show } from "../state/conversations";
import { current } from "../state/open-conversations";
import { onShortcut } from "./shortcuts";

const LISTENERS: [string, (event: Event) => void][] = [
  ["keydown", (event) => onShortcut(event as KeyboardEvent)],
  ["hashchange", showConversationOfAddress],
  ["beforeprint", unfoldForPrint],
  ["afterprint", foldAfterPrint],
];

/** What the whole page listens to. Returns what ends that. */
export function listenToBrowser(): () => void {
  for (const [name, listener] of LISTENERS) addEventListener(name, listener);
  return () => {
    for (const [name, listener] of LISTENERS) removeEventListener(name, listener);
  };
}

function showConversationOfAddress(): void {
  void followAddress();
  const id = location.hash.slice(1);
  if (id && !isComparing.value && id !== current.value.id) void show(id);
}

/** Paper shows all of a question. */
function unfoldForPrint(): void {
  for (const each of document.querySelectorAll<HTMLDetailsElement>("details.long:not([open])")) {
    each.open = true;
    each.dataset.unfolded = "";
  }
}

/** Only what was unfolded for it is folded again. */
function foldAfterPrint(): void {
  for (const each of document.querySelectorAll<HTMLDetailsElement>("details[data-unfolded]")) {
    each.open = false;
    delete each.dataset.unfolded;
  }
}
