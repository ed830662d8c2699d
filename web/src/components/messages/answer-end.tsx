import { isInterrupted, type Message } from "../../conversation";
import { numberAt, refusedOf, textAt } from "../../receipt";
import { regenerate } from "../../state/asking";
import { beginCorrecting, correcting } from "../../state/correcting";
import { EMPTY_DRAFT } from "../../state/draft";
import { models } from "../../state/models";
import { generation, path } from "../../state/open-conversations";
import { isOwner } from "../../state/session";
import { panel } from "../../state/view";
import { number, words } from "../../words";
import { Button } from "../button";
import { ContextFull } from "../context-full";
import { Icon } from "../icons";
import { AnswerInside } from "../looking/answer-inside";
import { LookButton } from "../looking/look-button";
import { Sources } from "../sources";
import { CopyButton } from "./copy-button";
import { CorrectionEditor } from "./correction";
import { Versions } from "./versions";

/** What is said under an answer that is written: how it ended, what it left out, what may be done with it. */
export function AnswerEnd({ message }: { message: Message }) {
  const say = words.value;
  const isLast = path.value.at(-1)?.id === message.id;
  const model = models.value?.find((each) => each.id === message.model);
  const isFull = isContextFull(message, model?.context);
  const refused = message.receipt ? refusedOf(message.receipt) : 0;
  return (
    <>
      {!message.run && <HowItEnded message={message} isFull={isFull} />}
      <Sources message={message} />
      {refused > 0 && <p class="ended">{say.leftOut(number(refused))}</p>}
      {isFull && isLast && (
        <div class="ended">
          <ContextFull draft={EMPTY_DRAFT} />
        </div>
      )}
      <AnswerInside message={message} />
      {correcting.value?.message === message.id && <CorrectionEditor message={message} earlier={correcting.value.earlier} />}
      <Tools message={message} isLast={isLast} />
      <p class="fallible">{model?.toy ? say.toyAnswer : say.mayBeWrong}</p>
    </>
  );
}

/** Nothing for an answer that came to its own end. */
function HowItEnded({ message, isFull }: { message: Message; isFull: boolean }) {
  const ended = endOf(message, isFull);
  const isFailure = message.ended === "error";
  if (!ended) return null;
  return (
    <p class={isFailure ? "ended failed" : "ended"}>
      {isFailure && <Icon name="warning" />}
      <span>
        {ended} {message.error !== ended && message.error}
      </span>
    </p>
  );
}

function endOf(message: Message, isFull: boolean): string {
  const say = words.value;
  if (isInterrupted(message)) return say.endedInterrupted;
  if (message.ended === "cancelled") return say.endedCancelled;
  if (message.ended === "error") return say.endedError;
  if (message.ended !== "length") return "";
  // The protocol has one word for every answer that was cut off; the receipt says by what.
  const cut = message.receipt && textAt(message.receipt, "ended", "reason");
  if (cut === "repetition") return say.endedRepetition;
  if (cut === "timeout") return say.endedTimeout;
  return isFull ? say.endedFull : say.endedLength;
}

/** Whether the context ended an answer, and not a limit that somebody set. */
function isContextFull({ ended, receipt }: Message, context: number | undefined): boolean {
  const total = receipt && numberAt(receipt, "tokens", "total");
  return ended === "length" && total !== undefined && context !== undefined && total >= context;
}

function Tools({ message, isLast }: { message: Message; isLast: boolean }) {
  const say = words.value;
  return (
    <div class={isLast ? "tools always" : "tools"}>
      <Versions message={message} />
      <CopyButton text={message.text} />
      <Button icon="again" label={say.regenerate} disabled={!!generation.value} onClick={() => regenerate(message)} />
      <Button icon="receipt" shown label={say.receipt} onClick={() => (panel.value = { kind: "receipt", message: message.id })} />
      {isOwner.value && message.text && !message.run && (
        <Button icon="correct" label={say.correctAnswer} expanded={correcting.value?.message === message.id} onClick={() => void beginCorrecting(message)} />
      )}
      {!message.run && <LookButton message={message} />}
      {message.model && <span class="by">{message.model}</span>}
    </div>
  );
}
