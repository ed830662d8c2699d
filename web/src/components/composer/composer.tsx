import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { send } from "../../state/asking";
import { attachFiles, detach } from "../../state/attaching";
import { draft, EMPTY_DRAFT, isDraftEmpty } from "../../state/draft";
import { model } from "../../state/models";
import { generation } from "../../state/open-conversations";
import { leavesOutOldest } from "../../state/settings";
import { focusComposer } from "../../state/view";
import { DocumentChips } from "../document-chips";
import { Controls } from "./controls";
import { DraftText } from "./draft-text";
import { tokensOver, usePromptCount } from "./prompt-count";
import { TooLong } from "./too-long";

/** The message box, what is attached to it, and exactly how much of the model's context it would take. */
export function Composer() {
  const count = usePromptCount();
  const isUnderFile = useSignal(false); // that is being dragged
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(focusComposer, []);

  const isRunning = generation.value !== undefined;
  const over = tokensOver(count);
  const maySend = !isDraftEmpty.value && !isRunning && model.value !== undefined && (over === 0 || leavesOutOldest.value);
  const submit = () => {
    if (!maySend) return;
    const { text, attachments } = draft.value;
    draft.value = EMPTY_DRAFT;
    send(text, attachments);
  };
  const attach = async (files: Iterable<File>) => {
    await attachFiles(files);
    area.current?.focus();
  };
  return (
    <form
      class={isUnderFile.value ? "composer over" : "composer"}
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
      onDragOver={(event) => {
        event.preventDefault();
        isUnderFile.value = true;
      }}
      onDragLeave={() => (isUnderFile.value = false)}
      onDrop={(event) => {
        event.preventDefault();
        isUnderFile.value = false;
        void attach(event.dataTransfer?.files ?? []);
      }}
    >
      <DocumentChips documents={draft.value.attachments} remove={detach} />
      <DraftText area={area} submit={submit} attach={attach} isUnderFile={isUnderFile.value} />
      <Controls attach={attach} count={count} maySend={maySend} />
      {over > 0 && !isRunning && <TooLong tokens={over} />}
    </form>
  );
}
