import { useRef } from "preact/hooks";
import { stop } from "../../state/asking";
import { effort, model } from "../../state/models";
import { generation } from "../../state/open-conversations";
import { mayUseDocuments } from "../../state/session";
import { askedDocuments, changeSettings } from "../../state/settings";
import { panel } from "../../state/view";
import { words } from "../../words";
import { papers } from "../../words/documents";
import { Button } from "../button";
import { Icon } from "../icons";
import { Meter, type PromptCount } from "./prompt-count";

/** The row under the message box. */
export function Controls(props: { attach: (files: Iterable<File>) => Promise<void>; count: PromptCount; maySend: boolean }) {
  return (
    <div class="controls">
      <AttachButton attach={props.attach} />
      <ModelButton />
      <DocumentsButton />
      <Effort />
      <span class="spring" />
      <Meter count={props.count} />
      {generation.value ? <StopButton /> : <SendButton isDisabled={!props.maySend} />}
    </div>
  );
}

function AttachButton({ attach }: { attach: (files: Iterable<File>) => Promise<void> }) {
  const say = words.value;
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <Button icon="attach" label={say.attach} onClick={() => input.current?.click()} />
      <input
        ref={input}
        type="file"
        multiple
        hidden
        aria-label={say.attach}
        onChange={({ currentTarget: chosen }) => {
          void attach([...(chosen.files ?? [])]).then(() => (chosen.value = "")); // the same file may be chosen again
        }}
      />
    </>
  );
}

function ModelButton() {
  const say = words.value;
  return (
    <button type="button" class="model" onClick={() => (panel.value = { kind: "models" })} title={say.chooseModel}>
      <span class={`dot ${model.value?.state ?? ""}`} />
      <span>{model.value ? model.value.id : say.noModel}</span>
      <Icon name="down" />
    </button>
  );
}

/** Which collections this conversation asks; an agent has its own. */
function DocumentsButton() {
  const say = papers.value;
  const asked = askedDocuments.value;
  if (!mayUseDocuments.value || model.value?.agent) return null;
  return (
    <button type="button" class={asked ? "model library asked" : "model library"} title={say.chooseDocuments} aria-label={asked ? `${say.documents}: ${asked.join(", ")}` : say.documents} onClick={() => (panel.value = { kind: "documents" })}>
      <Icon name="library" />
      <span class="library-names">{asked?.join(", ")}</span>
    </button>
  );
}

function Effort() {
  const say = words.value;
  const efforts = model.value?.efforts ?? [];
  if (efforts.length === 0) return null;
  return (
    <fieldset class="effort">
      <legend class="off-screen">{say.effort}</legend>
      {efforts.map((each) => (
        <label key={each} title={`${say.effort}: ${say.effortNames[each] ?? each}`}>
          <input type="radio" name="effort" value={each} checked={effort.value === each} onChange={() => changeSettings({ effort: each })} />
          <span>{say.effortNames[each] ?? each}</span>
        </label>
      ))}
    </fieldset>
  );
}

function StopButton() {
  const say = words.value;
  return (
    <button type="button" class="round" aria-label={say.stop} title={say.stop} onClick={stop}>
      <Icon name="stop" />
    </button>
  );
}

function SendButton({ isDisabled }: { isDisabled: boolean }) {
  const say = words.value;
  return (
    <button type="submit" class="round" aria-label={say.send} title={say.send} disabled={isDisabled}>
      <Icon name="send" />
    </button>
  );
}
