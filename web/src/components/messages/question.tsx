import type { Message } from "../../conversation";
import { generation } from "../../state/open-conversations";
import { editing } from "../../state/view";
import { words } from "../../words";
import { Button } from "../button";
import { DocumentChips } from "../document-chips";
import { CopyButton } from "./copy-button";
import { Editor } from "./editor";
import { Versions } from "./versions";

// A question that is longer is folded; so much of it is shown.
const MOST_LINES = 14;
const MOST_CHARACTERS = 1500;
const SHOWN_CHARACTERS = 400;

export function Question({ message }: { message: Message }) {
  if (editing.value === message.id) return <Editor message={message} />;
  return (
    <>
      <div class="bubble">
        <DocumentChips documents={message.attachments ?? []} />
        <QuestionText text={message.text} />
      </div>
      <div class="tools">
        <Versions message={message} />
        <CopyButton text={message.text} />
        <Button icon="edit" label={words.value.edit} disabled={!!generation.value} onClick={() => (editing.value = message.id)} />
      </div>
    </>
  );
}

function QuestionText({ text }: { text: string }) {
  if (!text) return null;
  if (text.split("\n").length <= MOST_LINES && text.length <= MOST_CHARACTERS) return <div class="said">{text}</div>;
  return (
    <details class="long">
      <summary>{text.slice(0, SHOWN_CHARACTERS).trimEnd()}…</summary>
      <div class="said">{text}</div>
    </details>
  );
}
