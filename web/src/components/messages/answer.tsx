import type { Citation } from "../../citations";
import type { Message } from "../../conversation";
import { lookingAt } from "../../state/looking";
import type { Generation } from "../../state/open-conversations";
import { forgetWatched, watchedOf } from "../../state/watching";
import { duration, words } from "../../words";
import { RunOfAnswer } from "../agents/run-of-answer";
import { AnswerText } from "../answer-text";
import { Mark } from "../icons";
import { EditedBand } from "../looking/edited-band";
import { WatchedAnswer } from "../looking/watched-answer";
import { AnswerEnd } from "./answer-end";
import { useClock } from "./clock";
import { Waiting } from "./waiting";

/** An answer, written or being written: the same elements, so that at its end only what is new is drawn. */
export function Answer({ message, writing }: { message: Message; writing: Generation | undefined }) {
  return (
    <>
      <AnswerBody message={message} writing={writing} />
      {!writing && <AnswerEnd message={message} />}
    </>
  );
}

/** The only part of the page that is drawn again for every token. */
function AnswerBody({ message, writing }: { message: Message; writing: Generation | undefined }) {
  const partial = writing?.partial.value;
  const { text, reasoning } = partial ?? message;
  const began = partial ? partial.thinkingBegan : 0;
  const ended = partial ? partial.thinkingEnded : (message.thinking_seconds ?? 0) * 1000;
  const watched = writing ? partial?.watched : watchedOf(message.id);
  const isLookedInto = lookingAt(message.id)?.step === "done";
  const isFromDocuments = message.documents !== undefined || message.run !== undefined;
  const citations = isFromDocuments ? ((partial ?? message).citations ?? NONE) : undefined;
  return (
    <>
      {message.run && <RunOfAnswer message={message} run={message.run} />}
      {reasoning && <Thoughts text={reasoning} began={began ?? 0} ended={ended} />}
      {!writing && <EditedBand message={message} />}
      {watched && !isLookedInto && <WatchedAnswer watched={watched} isWriting={writing !== undefined} close={() => forgetWatched(message.id)} />}
      {text && !watched && !isLookedInto && <AnswerText text={text} growing={writing !== undefined} citations={citations} />}
      {partial && !message.run && !text && !reasoning && !watched && <Waiting reading={partial.reading} model={message.model} />}
    </>
  );
}

const NONE: Citation[] = [];

/** `ended` is undefined while the model thinks. Both times are in milliseconds. */
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
