import { useEffect } from "preact/hooks";
import { isComparing } from "../state/comparing";
import { currentFetch, shareOf } from "../state/fetching";
import { model } from "../state/models";
import { announcement, notice } from "../state/notices";
import { current } from "../state/open-conversations";
import { host, where } from "../state/session";
import { focusComposer, panel, sidebarShown } from "../state/view";
import { percent, words } from "../words";
import { compared } from "../words/compare";
import { listenToBrowser } from "./browser-events";
import { Button } from "./button";
import { ComparePage } from "./comparing/compare-page";
import { Composer } from "./composer/composer";
import { Icon } from "./icons";
import { Messages } from "./messages/messages";
import { Panels } from "./panels/panels";
import { Sidebar } from "./sidebar";
import { TopBar } from "./top-bar";

export function App() {
  useEffect(listenToBrowser, []);
  useEffect(() => {
    const title = isComparing.value ? compared.value.sideBySide : current.value.title;
    document.title = title ? `${title} · Ouvert` : "Ouvert";
  }, [current.value.title, isComparing.value, compared.value]);
  return (
    <div class={sidebarShown.value ? "app with-sidebar" : "app"}>
      {!isComparing.value && <SkipLink />}
      <Sidebar />
      {sidebarShown.value && <div class="veil only-narrow" onClick={() => (sidebarShown.value = false)} />}
      <main>
        <TopBar />
        {isComparing.value ? <Comparing /> : <Conversing />}
      </main>
      <div class="off-screen" role="status" aria-live="polite">
        {announcement.value}
      </div>
      <Panels />
    </div>
  );
}

function Conversing() {
  return (
    <>
      <ToyWarning />
      <Messages />
      <div class="foot">
        <NoticeBar />
        <FetchLine />
        <Composer />
        <Tagline />
      </div>
    </>
  );
}

function Comparing() {
  return (
    <>
      <ComparePage />
      <div class="foot">
        <NoticeBar />
        <Tagline />
      </div>
    </>
  );
}

/** Where what is written goes. */
function Tagline() {
  return <p class={where.value === "open" ? "tagline open" : "tagline"}>{words.value.taglines[where.value](host)}</p>;
}

/** For who goes through the page by keyboard. */
function SkipLink() {
  return (
    <a
      class="skip"
      href="#composer"
      onClick={(event) => {
        event.preventDefault();
        focusComposer();
      }}
    >
      {words.value.skip}
    </a>
  );
}

function ToyWarning() {
  const say = words.value;
  if (!model.value?.toy) return null;
  return (
    <p class="honest">
      <Icon name="warning" />
      <span>{say.toyModel(model.value.id)}</span>
      <button type="button" class="plain" onClick={() => (panel.value = { kind: "models" })}>
        {say.chooseAnother}
      </button>
    </p>
  );
}

/** A fetch goes on while the reader does something else. */
function FetchLine() {
  const fetch = currentFetch.value;
  if (!fetch || panel.value) return null;
  const share = shareOf(fetch);
  return (
    <button type="button" class="fetch-line" onClick={() => (panel.value = { kind: "obtain" })}>
      {words.value.fetchingLine(fetch.model, share === undefined ? "" : percent(share))}
    </button>
  );
}

function NoticeBar() {
  if (!notice.value) return null;
  const { text, isError } = notice.value;
  return (
    <div class={isError ? "notice failed" : "notice"} role={isError ? "alert" : "status"}>
      <span>{text}</span>
      <Button icon="close" label={words.value.dismiss} onClick={() => (notice.value = null)} />
    </div>
  );
}
