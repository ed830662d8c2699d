import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { toWire, type Attachment, type Message } from "../conversation";
import { comingFormat, decodeText, LARGEST_FILE, LONG_PASTE, longestThatFits } from "../documents";
import { isComposing, isSend } from "../keys";
import { countTokens, type Count } from "../server";
import {
  changeSettings, complain, current, editing, effort, focusComposer, goOnWithSummary, handedOn, leaveOutOldest, model, notice, panel, path, run, send,
  settings, stop, system,
} from "../state";
import { bytes, number, words } from "../words";
import { Button, Icon } from "./icons";

/** The message box, what is attached to it, and exactly how much of the model's context it would take. */
export function Composer() {
  const say = words.value;
  const text = useSignal("");
  const attachments = useSignal<Attachment[]>([]);
  const count = useSignal<Count | "counting" | "unknown" | null>(null);
  const fitting = useSignal(false);
  const isOver = useSignal(false);
  const area = useRef<HTMLTextAreaElement>(null);
  const file = useRef<HTMLInputElement>(null);

  const draft = (documents: Attachment[]): Message => ({
    id: "draft", parent: null, role: "user", text: text.value, created: "",
    ...(documents.length > 0 ? { attachments: documents } : {}),
  });
  const isEmpty = text.value.trim() === "" && attachments.value.length === 0;
  const wire = (documents: Attachment[]) =>
    toWire(isEmpty ? path.value : [...path.value, draft(documents)], system.value);

  // Counting waits until typing pauses; a newer text cancels the older request.
  const chosen = model.value?.id;
  const isRunning = run.value !== undefined;
  useEffect(() => {
    if (!chosen || isRunning || (isEmpty && path.value.length === 0)) {
      count.value = null;
      return;
    }
    const abort = new AbortController();
    const delay = setTimeout(async () => {
      if (count.value === null || count.value === "unknown") count.value = "counting";
      try {
        count.value = await countTokens(chosen, wire(attachments.value), abort.signal);
      } catch (problem) {
        if (!(problem instanceof DOMException)) count.value = "unknown";
      }
    }, 300);
    return () => {
      clearTimeout(delay);
      abort.abort();
    };
  }, [text.value, attachments.value, chosen, current.value.leaf, current.value.id, system.value, isRunning]);

  // At once, not after the next frame: by then somebody may have begun to type.
  useLayoutEffect(() => {
    text.value = handedOn.value?.text ?? "";
    attachments.value = handedOn.value?.attachments ?? [];
    handedOn.value = null;
  }, [current.value.id]);
  useEffect(focusComposer, []);
  useLayoutEffect(() => {
    if (!area.current) return;
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text.value]);

  const over = typeof count.value === "object" && count.value ? count.value.count - count.value.max_model_len : 0;
  const isFull = typeof count.value === "object" && count.value !== null && over >= 0;
  const leavesOut = settings.value.truncation === "auto";
  const mayNotSend = isEmpty || isRunning || !chosen || (isFull && !leavesOut);

  const submit = () => {
    if (mayNotSend) return;
    const [said, documents] = [text.value, attachments.value];
    text.value = "";
    attachments.value = [];
    send(said, documents);
  };

  const attach = async (files: Iterable<File>) => {
    for (const each of files) {
      if (each.size > LARGEST_FILE) {
        notice.value = { text: say.fileTooLarge(each.name, bytes(LARGEST_FILE)), isError: true };
        continue;
      }
      const content = new Uint8Array(await each.arrayBuffer());
      const decoded = decodeText(content);
      if (decoded === null) {
        const format = comingFormat(content, each.name);
        notice.value = { text: format ? say.formatToCome(each.name, format) : say.notText(each.name), isError: true };
        continue;
      }
      if (decoded.isGuess) notice.value = { text: say.readAs(each.name, "Windows-1252"), isError: false };
      attachments.value = [...attachments.value, { name: each.name, text: decoded.text }];
    }
    area.current?.focus();
  };

  /** Shorten the longest document to what the model holds, and say so in the document and on the page. */
  const keepWhatFits = async () => {
    if (!chosen) return;
    const longest = attachments.value.reduce((a, b) => (b.text.length > a.text.length ? b : a));
    fitting.value = true;
    try {
      const room = answerRoom(typeof count.value === "object" && count.value ? count.value.max_model_len : 0);
      const marked = (each: Attachment): Attachment =>
        each.text.length === longest.text.length
          ? each
          : { ...each, text: `${each.text}\n${say.cutMark(number(each.text.length), number(longest.text.length))}` };
      const others = (replacement: Attachment) => attachments.value.map((each) => (each === longest ? replacement : each));
      const kept = await longestThatFits(longest, async (shortened) => {
        const { count: needed, max_model_len: most } = await countTokens(chosen, wire(others(marked(shortened))));
        return needed + room <= most;
      });
      if (kept === null) {
        notice.value = { text: say.nothingFits, isError: true };
        return;
      }
      attachments.value = others(marked(kept));
      notice.value = { text: say.keptPart(longest.name, number(kept.text.length), number(longest.text.length)), isError: false };
    } catch (problem) {
      complain(problem);
    } finally {
      fitting.value = false;
    }
  };

  return (
    <form
      class={isOver.value ? "composer over" : "composer"}
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
      onDragOver={(event) => {
        event.preventDefault();
        isOver.value = true;
      }}
      onDragLeave={() => (isOver.value = false)}
      onDrop={(event) => {
        event.preventDefault();
        isOver.value = false;
        void attach(event.dataTransfer?.files ?? []);
      }}
    >
      {attachments.value.length > 0 && (
        <ul class="chips" aria-label={say.attached}>
          {attachments.value.map((each, index) => (
            <li class="chip" key={index}>
              <Icon name="file" />
              <span>{each.name}</span>
              <small>{say.characters(number(each.text.length))}</small>
              <Button
                icon="close"
                label={say.removeAttachment(each.name)}
                onClick={() => (attachments.value = attachments.value.filter((other) => other !== each))}
              />
            </li>
          ))}
        </ul>
      )}
      <textarea
        id="composer"
        ref={area}
        rows={1}
        aria-label={say.message}
        aria-describedby="context"
        placeholder={isOver.value ? say.dropHere : say.messageHint}
        value={text.value}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onPaste={(event) => {
          const pasted = event.clipboardData?.getData("text/plain") ?? "";
          const files = event.clipboardData?.files;
          if (files && files.length > 0) {
            event.preventDefault();
            void attach(files);
          } else if (pasted.length > LONG_PASTE) {
            event.preventDefault();
            attachments.value = [...attachments.value, { name: say.pastedText, text: pasted.replace(/\r\n?/g, "\n") }];
          }
        }}
        onKeyDown={(event) => {
          if (isSend(event)) {
            event.preventDefault();
            submit();
          } else if (event.key === "ArrowUp" && !isComposing(event) && text.value === "" && !isRunning) {
            const last = path.value.findLast((each) => each.role === "user");
            if (last) {
              event.preventDefault();
              editing.value = last.id;
            }
          }
        }}
      />
      <div class="controls">
        <Button icon="attach" label={say.attach} onClick={() => file.current?.click()} />
        <input
          ref={file}
          type="file"
          multiple
          hidden
          aria-label={say.attach}
          onChange={({ currentTarget: input }) => {
            void attach([...(input.files ?? [])]).then(() => (input.value = ""));
          }}
        />
        <button type="button" class="model" onClick={() => (panel.value = { kind: "models" })} title={say.chooseModel}>
          <span class={`dot ${model.value?.state ?? ""}`} />
          <span>{model.value ? model.value.id : say.noModel}</span>
          <Icon name="down" />
        </button>
        <Effort />
        <span class="spring" />
        <Meter count={count.value} />
        {isRunning ? (
          <button type="button" class="round" aria-label={say.stop} title={say.stop} onClick={stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="round" aria-label={say.send} title={say.send} disabled={mayNotSend}>
            <Icon name="send" />
          </button>
        )}
      </div>
      {isFull && !isRunning && (
        <div class="too-long" role="alert">
          <Icon name="warning" />
          <span>{leavesOut ? say.leavingOut : say.tooLong(number(over + 1))}</span>
          {attachments.value.length > 0 && !leavesOut && (
            <button type="button" class="plain" disabled={fitting.value} onClick={() => void keepWhatFits()}>
              {fitting.value ? say.fitting : say.keepWhatFits}
            </button>
          )}
          {path.value.length > 0 && <ContextFull text={text.value} attachments={attachments.value} />}
        </div>
      )}
    </form>
  );
}

/** What may be done about a conversation that is as long as the model's context. */
export function ContextFull({ text, attachments }: { text: string; attachments: Attachment[] }) {
  const say = words.value;
  const leavesOut = settings.value.truncation === "auto";
  return (
    <span class="ways-on">
      <button
        type="button"
        class="plain"
        onClick={() => {
          leaveOutOldest(!leavesOut);
          focusComposer();
        }}
      >
        {leavesOut ? say.leaveOutNothing : say.leaveOutOldest}
      </button>
      <button type="button" class="plain" disabled={run.value !== undefined} onClick={() => void goOnWithSummary(text, attachments)}>
        {say.goOnWithSummary}
      </button>
    </span>
  );
}

/** Tokens left free for an answer when a document is cut: what was asked for, else a quarter of the context. */
function answerRoom(context: number): number {
  return Math.min(settings.value.sampling?.max_tokens ?? 1024, Math.floor(context / 4));
}

function Meter({ count }: { count: Count | "counting" | "unknown" | null }) {
  const say = words.value;
  if (count === null) return <span id="context" class="meter" />;
  if (typeof count === "string") {
    return (
      <span id="context" class="meter">
        {count === "counting" ? say.counting : say.cannotCount}
      </span>
    );
  }
  const share = Math.min(1, count.count / count.max_model_len);
  return (
    <span id="context" class={share >= 1 ? "meter full" : "meter"}>
      <svg class="gauge" viewBox="0 0 20 20" aria-hidden="true">
        <circle cx="10" cy="10" r="7.5" />
        <circle cx="10" cy="10" r="7.5" pathLength="100" class="filled" stroke-dasharray={`${share * 100} 100`} />
      </svg>
      <span class="meter-text">{say.tokensOf(number(count.count), number(count.max_model_len))}</span>
    </span>
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

