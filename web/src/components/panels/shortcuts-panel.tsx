import { closePanel } from "../../state/view";
import { words } from "../../words";
import { Sheet } from "./sheet";

/** What ../shortcuts.ts listens to. */
const SHORTCUTS: [keyof typeof words.value, string[]][] = [
  ["shortcutSend", ["Enter"]],
  ["shortcutNewline", ["Shift", "Enter"]],
  ["shortcutEditLast", ["↑"]],
  ["shortcutStop", ["Esc"]],
  ["shortcutNew", ["Alt", "N"]],
  ["shortcutSearch", ["Ctrl", "K"]],
  ["shortcutSidebar", ["Alt", "S"]],
  ["shortcutModel", ["Alt", "M"]],
  ["shortcutDocuments", ["Alt", "O"]],
  ["shortcutRuns", ["Alt", "A"]],
  ["shortcutSettings", ["Alt", ","]],
  ["shortcutReceipt", ["Alt", "I"]],
  ["shortcutRegenerate", ["Alt", "R"]],
  ["shortcutCopy", ["Alt", "C"]],
  ["shortcutHelp", ["Ctrl", "/"]],
];

const IS_MAC = /Mac/.test(navigator.userAgent);
const MAC_NAMES: Record<string, string> = { Ctrl: "⌘", Alt: "⌥" };

export function ShortcutsPanel() {
  return (
    <Sheet title={words.value.shortcuts} place="centre" onClose={closePanel}>
      <dl class="shortcuts">
        {SHORTCUTS.map(([name, keys]) => (
          <div key={name}>
            <dt>{String(words.value[name])}</dt>
            <dd>
              {keys.map((each) => (
                <kbd key={each}>{keyName(each)}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Sheet>
  );
}

function keyName(key: string): string {
  return words.value.keyNames[key] ?? (IS_MAC ? MAC_NAMES[key] : undefined) ?? key;
}
