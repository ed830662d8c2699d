import { toMarkdown } from "../conversation";
import { isComparing } from "../state/comparing";
import { current } from "../state/open-conversations";
import { sidebarShown } from "../state/view";
import { words } from "../words";
import { compared } from "../words/compare";
import { Button } from "./button";
import { download, fileName } from "./download";

export function TopBar() {
  const say = words.value;
  return (
    <header class="top">
      <Button
        icon="menu"
        label={sidebarShown.value ? say.hideSidebar : say.showSidebar}
        expanded={sidebarShown.value}
        onClick={() => (sidebarShown.value = !sidebarShown.value)}
      />
      {isComparing.value ? <h1 class="conversation-title">{compared.value.sideBySide}</h1> : <Title />}
    </header>
  );
}

function Title() {
  const say = words.value;
  return (
    <>
      <h1 class="conversation-title">{current.value.title || <span class="off-screen">{say.newConversation}</span>}</h1>
      {current.value.messages.length > 0 && (
        <>
          <Button icon="export" label={say.exportMarkdown} onClick={downloadMarkdown} />
          <Button icon="file" label={say.exportJson} onClick={downloadJson} />
        </>
      )}
    </>
  );
}

function downloadMarkdown(): void {
  const say = words.value;
  const names = { user: say.you, assistant: say.assistant, interrupted: say.endedInterrupted };
  download(fileName(current.value.title, "md"), toMarkdown(current.value, names), "text/markdown");
}

function downloadJson(): void {
  download(fileName(current.value.title, "json"), JSON.stringify(current.value, null, 1));
}
