import { useEffect } from "preact/hooks";
import { toMarkdown } from "../conversation";
import { altKey, isComposing } from "../keys";
import {
  announcement, current, editing, focusComposer, host, model, notice, panel, regenerate, run, show, sidebarShown, startNew, stop, keyWanted, where,
} from "../state";
import { words } from "../words";
import { Composer } from "./composer";
import { copyText, download, fileName } from "./copy";
import { Button, Icon } from "./icons";
import { lastAnswer, Messages } from "./messages";
import { Panels } from "./panels";
import { Sidebar } from "./sidebar";

export function App() {
  const say = words.value;
  useEffect(() => {
    addEventListener("keydown", onKeyDown);
    addEventListener("hashchange", onHashChange);
    addEventListener("beforeprint", unfoldForPrint);
    addEventListener("afterprint", foldAfterPrint);
    return () => {
      removeEventListener("beforeprint", unfoldForPrint);
      removeEventListener("afterprint", foldAfterPrint);
      removeEventListener("keydown", onKeyDown);
      removeEventListener("hashchange", onHashChange);
    };
  }, []);
  useEffect(() => {
    document.title = current.value.title ? `${current.value.title} · Ouvert` : "Ouvert";
  }, [current.value.title]);
  return (
    <div class={sidebarShown.value ? "app with-sidebar" : "app"}>
      <a class="skip" href="#composer" onClick={(event) => { event.preventDefault(); focusComposer(); }}>
        {say.skip}
      </a>
      <Sidebar />
      {sidebarShown.value && <div class="veil only-narrow" onClick={() => (sidebarShown.value = false)} />}
      <main>
        <header class="top">
          <Button
            icon="menu"
            label={sidebarShown.value ? say.hideSidebar : say.showSidebar}
            expanded={sidebarShown.value}
            onClick={() => (sidebarShown.value = !sidebarShown.value)}
          />
          <h1 class="conversation-title">
            {current.value.title || <span class="off-screen">{say.newConversation}</span>}
          </h1>
          {current.value.messages.length > 0 && (
            <>
              <Button
                icon="export"
                label={say.exportMarkdown}
                onClick={() =>
                  download(fileName(current.value.title, "md"), toMarkdown(current.value, { user: say.you, assistant: say.assistant, interrupted: say.endedInterrupted }), "text/markdown")
                }
              />
              <Button
                icon="file"
                label={say.exportJson}
                onClick={() => download(fileName(current.value.title, "json"), JSON.stringify(current.value, null, 1))}
              />
            </>
          )}
        </header>
        {model.value?.toy && (
          <p class="honest">
            <Icon name="warning" />
            <span>{say.toyModel(model.value.id)}</span>
            <button type="button" class="plain" onClick={() => (panel.value = { kind: "models" })}>
              {say.chooseAnother}
            </button>
          </p>
        )}
        <Messages />
        <div class="foot">
          {notice.value && (
            <div class={notice.value.isError ? "notice failed" : "notice"} role={notice.value.isError ? "alert" : "status"}>
              <span>{notice.value.text}</span>
              <Button icon="close" label={say.dismiss} onClick={() => (notice.value = null)} />
            </div>
          )}
          <Composer />
          <p class={where.value === "open" ? "tagline open" : "tagline"}>{say.taglines[where.value](host)}</p>
        </div>
      </main>
      <div class="off-screen" role="status" aria-live="polite">
        {announcement.value}
      </div>
      <Panels />
    </div>
  );
}

/** Paper shows all of a question. What was folded is folded again afterwards. */
function unfoldForPrint(): void {
  for (const each of document.querySelectorAll<HTMLDetailsElement>("details.long:not([open])")) {
    each.open = true;
    each.dataset.unfolded = "";
  }
}

function foldAfterPrint(): void {
  for (const each of document.querySelectorAll<HTMLDetailsElement>("details[data-unfolded]")) {
    each.open = false;
    delete each.dataset.unfolded;
  }
}

function onHashChange(): void {
  const id = location.hash.slice(1);
  if (id && id !== current.value.id) void show(id);
}

/** The shortcuts of the list in panels.tsx. */
function onKeyDown(event: KeyboardEvent): void {
  if (isComposing(event)) return; // the input method's keys, Escape among them
  const isCommand = (event.ctrlKey || event.metaKey) && !event.altKey;
  if (event.key === "Escape" && !panel.value && !keyWanted.value) {
    if (editing.value) {
      editing.value = null;
      focusComposer();
    }
    else if (run.value) stop();
    else if (window.innerWidth < 900) sidebarShown.value = false;
  } else if (isCommand && event.key.toLowerCase() === "k") {
    event.preventDefault();
    panel.value = null;
    sidebarShown.value = true;
    const focusSearch = () => document.querySelector<HTMLInputElement>("#search")?.focus();
    focusSearch(); // at once, for what is typed next
    requestAnimationFrame(focusSearch); // where the list was hidden, or a dialog open
  } else if (isCommand && event.key === "/") {
    event.preventDefault();
    panel.value = panel.value?.kind === "shortcuts" ? null : { kind: "shortcuts" };
  } else if (event.altKey && !event.ctrlKey && !event.metaKey) {
    const action = ALT[altKey(event)];
    if (action) {
      event.preventDefault();
      action();
    }
  }
}

const ALT: Record<string, () => void> = {
  n: startNew,
  s: () => (sidebarShown.value = !sidebarShown.value),
  m: () => (panel.value = { kind: "models" }),
  ",": () => (panel.value = { kind: "settings" }),
  i: () => {
    const message = lastAnswer();
    if (message) panel.value = { kind: "receipt", message: message.id };
  },
  r: () => {
    const message = lastAnswer();
    if (message) regenerate(message);
  },
  c: () => {
    const message = lastAnswer();
    if (message) void copyText(message.text);
  },
};
