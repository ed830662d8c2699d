import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { find, isInterrupted, siblings, type Message } from "../conversation";
import { isComposing, isSend } from "../keys";
import { numberAt, refusedOf, textAt } from "../receipt";
import {
  current, editing, focusComposer, host, model, models, panel, path, regenerate, resend, run, send, showVersion, where, type Live, type Run,
} from "../state";
import { duration, number, percent, words } from "../words";
import { AnswerText } from "./answer-text";
import { ContextFull } from "./composer";
import { copyText } from "./copy";
import { Button, Icon, Mark } from "./icons";

const NEAR_END = 80; // pixels: closer than this, the view follows the answer

export function Messages() {
  const scroller = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const lastTop = useRef(0);
  const [away, setAway] = useState(false);
  const messages = path.value;
  const toEnd = () => scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  useLayoutEffect(() => {
    following.current = true;
    toEnd();
  }, [current.value.id, messages.length]);
  useEffect(() => {
    const inside = scroller.current?.firstElementChild;
    if (!inside) return;
    const observer = new ResizeObserver(() => following.current && toEnd());
    observer.observe(inside);
    return () => observer.disconnect();
  }, []);
  return (
    <div
      class="scroller"
      ref={scroller}
      onScroll={({ currentTarget: at }) => {
        // An answer that grew since we scrolled is no wish to stay behind; scrolling up is.
        const isNearEnd = at.scrollHeight - at.scrollTop - at.clientHeight < NEAR_END;
        if (isNearEnd) following.current = true;
        else if (at.scrollTop < lastTop.current) following.current = false;
        lastTop.current = at.scrollTop;
        setAway(!following.current);
      }}
    >
      <div class="column">
        {messages.length === 0 ? <Welcome /> : messages.map((each) => <MessageView key={each.id} message={each} />)}
      </div>
      {away && messages.length > 0 && <Button class="to-end" icon="down" label={words.value.jumpToEnd} onClick={toEnd} />}
    </div>
  );
}

function Welcome() {
  const say = words.value;
  if (models.value?.length === 0) {
    return (
      <div class="welcome">
        <Mark />
        <h2>{say.noModels}</h2>
        <p>{say.noModelsHint}</p>
      </div>
    );
  }
  return (
    <div class="welcome">
      <Mark />
      <h2>{say.welcome}</h2>
      <p>{model.value?.toy ? say.toyModel(model.value.id) : say.welcomeHints[where.value](host)}</p>
      <ul>
        {(model.value?.toy ? say.toySuggestions : say.suggestions).map((each) => (
          <li key={each}>
            <button type="button" disabled={!model.value} onClick={() => send(each, [])}>
              {each}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function MessageView({ message }: { message: Message }) {
  const say = words.value;
  const running = run.value?.message === message.id ? run.value : undefined;
  return (
    <article class={`message ${message.role}`} aria-label={message.role === "user" ? say.you : (message.model ?? say.assistant)}>
      {message.role === "user" ? <Question message={message} /> : <Answer message={message} running={running} />}
    </article>
  );
}

function Versions({ message }: { message: Message }) {
  const say = words.value;
  const all = siblings(current.value, message);
  if (all.length < 2) return null;
  const at = all.findIndex((each) => each.id === message.id);
  const go = (to: Message | undefined) => to && showVersion(to);
  return (
    <span class="versions">
      <Button icon="left" label={say.previousVersion} disabled={at === 0 || !!run.value} onClick={() => go(all[at - 1])} />
      <span>{say.versionOf(at + 1, all.length)}</span>
      <Button icon="right" label={say.nextVersion} disabled={at === all.length - 1 || !!run.value} onClick={() => go(all[at + 1])} />
    </span>
  );
}

const FOLDED_LINES = 14;

function Question({ message }: { message: Message }) {
  const say = words.value;
  const isLong = message.text.split("\n").length > FOLDED_LINES || message.text.length > 1500;
  if (editing.value === message.id) return <Editor message={message} />;
  return (
    <>
      <div class="bubble">
        {message.attachments && (
          <ul class="chips" aria-label={say.attached}>
            {message.attachments.map((each) => (
              <li class="chip" key={each.name}>
                <Icon name="file" />
                <span>{each.name}</span>
                <small>{say.characters(number(each.text.length))}</small>
              </li>
            ))}
          </ul>
        )}
        {isLong ? (
          <details class="long">
            <summary>{message.text.slice(0, 400).trimEnd()}…</summary>
            <div class="said">{message.text}</div>
          </details>
        ) : (
          message.text && <div class="said">{message.text}</div>
        )}
      </div>
      <div class="tools">
        <Versions message={message} />
        <CopyButton text={message.text} />
        <Button icon="edit" label={say.edit} disabled={!!run.value} onClick={() => (editing.value = message.id)} />
      </div>
    </>
  );
}

function Editor({ message }: { message: Message }) {
  const say = words.value;
  const text = useRef(signal(message.text)).current;
  const area = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    area.current?.focus();
    area.current?.setSelectionRange(message.text.length, message.text.length);
  }, []);
  const submit = () => {
    if (text.value.trim() || message.attachments) resend(message, text.value);
  };
  return (
    <div class="editor">
      <textarea
        ref={area}
        aria-label={say.editMessage}
        value={text.value}
        rows={Math.min(16, message.text.split("\n").length + 1)}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (isSend(event)) {
            event.preventDefault();
            submit();
          } else if (event.key === "Escape" && !isComposing(event)) {
            event.stopPropagation();
            editing.value = null;
            focusComposer();
          }
        }}
      />
      <div class="editor-tools">
        <button type="button" class="plain" onClick={() => (editing.value = null)}>
          {say.cancel}
        </button>
        <button type="button" class="primary" onClick={submit}>
          {say.saveAndSend}
        </button>
      </div>
    </div>
  );
}

function Thoughts({ text, began, ended }: { text: string; began: number; ended: number | undefined }) {
  const say = words.value;
  const now = useClock(ended === undefined);
  const seconds = Math.max(0, (ended ?? now) - began) / 1000;
  return (
    <details class="thoughts">
      <summary>
        <Mark breathing={ended === undefined} />
        <span>{ended === undefined ? say.thinkingFor(duration(Math.floor(seconds))) : say.thoughtFor(duration(seconds))}</span>
      </summary>
      <div class="thought" role="region" aria-label={say.thoughts} tabindex={0}>
        {text}
      </div>
    </details>
  );
}

/** An answer, written or being written: the same elements, so that its end changes nothing but what is new. */
function Answer({ message, running }: { message: Message; running: Run | undefined }) {
  return (
    <>
      <Said message={message} running={running} />
      {!running && <AnswerEnd message={message} />}
    </>
  );
}

/** The only part of the page that follows every token. */
function Said({ message, running }: { message: Message; running: Run | undefined }) {
  const live = running?.live.value;
  const text = live ? live.text : message.text;
  const reasoning = live ? live.reasoning : message.reasoning;
  const began = live ? live.thinkingBegan : 0;
  const ended = live ? live.thinkingEnded : (message.thinking_seconds ?? 0) * 1000;
  return (
    <>
      {reasoning && <Thoughts text={reasoning} began={began ?? 0} ended={ended} />}
      {text && <AnswerText text={text} growing={running !== undefined} />}
      {live && !text && !reasoning && <Waiting reading={live.reading} by={message.model} />}
    </>
  );
}

/** What happens before the first word: the model is loaded, then the conversation is read. */
function Waiting({ reading, by }: { reading: Live["reading"]; by: string | undefined }) {
  const say = words.value;
  const now = useClock(reading !== undefined);
  if (reading) {
    const left = reading.seconds_left === null ? undefined : Math.max(0, reading.seconds_left - (now - reading.at) / 1000);
    return (
      <div class="waiting">
        <Mark breathing />
        <span>
          {say.readingOf(number(reading.done), number(reading.total))}
          {left !== undefined && `, ${say.timeLeft(duration(Math.ceil(left)))}`}
        </span>
        <progress aria-label={say.readingPrompt} value={reading.done} max={reading.total} />
      </div>
    );
  }
  const { state, progress } = models.value?.find((each) => each.id === by) ?? {};
  if (state === "loading") {
    return (
      <div class="waiting">
        <Mark breathing />
        <span>{progress === undefined ? say.loadingModel : say.preparingModel(percent(progress))}</span>
        {progress !== undefined && <progress aria-label={say.loadingModel} value={progress} />}
      </div>
    );
  }
  return (
    <p class="waiting">
      <Mark breathing /> {say.waiting}
    </p>
  );
}

/** The time, once a second while it `runs`. */
function useClock(runs: boolean): number {
  const [now, setNow] = useState(performance.now());
  useEffect(() => {
    if (!runs) return;
    const clock = setInterval(() => setNow(performance.now()), 1000);
    return () => clearInterval(clock);
  }, [runs]);
  return Math.max(now, performance.now());
}

function AnswerEnd({ message }: { message: Message }) {
  const say = words.value;
  const isLast = path.value.at(-1)?.id === message.id;
  const by = models.value?.find((each) => each.id === message.model);
  const isFull = message.ended === "length" && isContextFull(message, by?.context);
  // The protocol knows one word for every answer that was cut off; the receipt says by what.
  const cut = message.receipt && textAt(message.receipt, "ended", "reason");
  const ended = {
    length:
      cut === "repetition" ? say.endedRepetition
      : cut === "timeout" ? say.endedTimeout
      : isFull ? say.endedFull
      : say.endedLength,
    cancelled: say.endedCancelled,
    error: say.endedError,
    stop: "",
    interrupted: say.endedInterrupted,
  }[isInterrupted(message) ? "interrupted" : (message.ended ?? "stop")];
  const refused = message.receipt ? refusedOf(message.receipt) : 0;
  return (
    <>
      {ended && (
        <p class={message.ended === "error" ? "ended failed" : "ended"}>
          {message.ended === "error" && <Icon name="warning" />}
          <span>
            {ended} {message.error !== ended && message.error}
          </span>
        </p>
      )}
      {refused > 0 && <p class="ended">{say.leftOut(number(refused))}</p>}
      {isFull && isLast && (
        <div class="ended">
          <ContextFull text="" attachments={[]} />
        </div>
      )}
      <div class={isLast ? "tools always" : "tools"}>
        <Versions message={message} />
        <CopyButton text={message.text} />
        <Button icon="again" label={say.regenerate} disabled={!!run.value} onClick={() => regenerate(message)} />
        <Button icon="receipt" shown label={say.receipt} onClick={() => (panel.value = { kind: "receipt", message: message.id })} />
        {message.model && <span class="by">{message.model}</span>}
      </div>
      <p class="fallible">{by?.toy ? say.toyAnswer : say.mayBeWrong}</p>
    </>
  );
}

/** Whether it was the context that ended an answer, and not a limit that somebody set. */
function isContextFull({ receipt }: Message, context: number | undefined): boolean {
  const total = receipt && numberAt(receipt, "tokens", "total");
  return total !== undefined && context !== undefined && total >= context;
}

function CopyButton({ text }: { text: string }) {
  const [said, setSaid] = useState<string | null>(null);
  return (
    <Button
      icon={said ? "check" : "copy"}
      label={said ?? words.value.copy}
      disabled={!text}
      onClick={() =>
        void copyText(text).then((result) => {
          setSaid(result);
          setTimeout(() => setSaid(null), 1500);
        })
      }
    />
  );
}

/** The last answer of the branch in view. */
export function lastAnswer(): Message | undefined {
  const message = path.value.findLast((each) => each.role === "assistant");
  return message && run.value?.message !== message.id ? find(current.value, message.id) : undefined;
}
