import { useSignal } from "@preact/signals";
import { Fragment } from "preact";
import { isAnswering, round, texts } from "../../state/comparing";
import { number } from "../../words";
import { compared } from "../../words/compare";
import { diffWords, firstDifference, type DiffWord } from "../../words-diff";

/** The answers, as they come; then, where the reader wants it, with the words marked that only one of them has. */
export function Columns() {
  const say = compared.value;
  const isMarked = useSignal(false);
  const { reasons = [], labels = [], state } = round.value ?? {};
  const isThere = state !== undefined && state !== "answering" && state !== "failed";
  const [first = ""] = texts.value;
  const others = texts.value.slice(1).map((text) => diffWords(first, text));
  const marked = isMarked.value && isThere ? [others[0]?.[0], ...others.map((pair) => pair?.[1])] : [];
  const parting = texts.value.length === 2 && isThere ? firstDifference(first, texts.value[1] ?? "") : undefined;
  return (
    <>
      <div class="side-by-side answers-beside">
        {texts.value.map((text, side) => (
          <section key={side} class="beside" aria-label={say.answerNumber(String(side + 1))} aria-busy={isAnswering.value}>
            <h2>
              {say.answerNumber(String(side + 1))}
              {labels[side] !== undefined && <strong class="revealed"> {labels[side]}</strong>}
            </h2>
            <p class="said">
              {marked[side] ? <Marked words={marked[side]} parting={texts.value.length === 2 ? parting : undefined} /> : text || (isThere ? <span class="quiet">{say.emptyAnswer}</span> : <span class="quiet">{say.writing}</span>)}
            </p>
            {reasons[side] === "length" && <p class="quiet">{say.cutForLength}</p>}
          </section>
        ))}
      </div>
      {isThere && (
        <div class="marking">
          <label class="mark-words">
            <input type="checkbox" checked={isMarked.value} onChange={(event) => (isMarked.value = event.currentTarget.checked)} /> {say.showDifference}
          </label>
          {texts.value.length === 2 && <span class="quiet">{parting === undefined ? say.sayTheSame : say.partAtWord(number(parting + 1))}</span>}
        </div>
      )}
    </>
  );
}

function Marked({ words, parting }: { words: DiffWord[]; parting: number | undefined }) {
  return (
    <>
      {words.map(({ text, isShared }, n) => (
        <Fragment key={n}>
          {n === parting && <span class="parting" title={compared.value.differsHere} />}
          {isShared ? text : <mark>{text}</mark>}
        </Fragment>
      ))}
    </>
  );
}
