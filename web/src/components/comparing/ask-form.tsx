import { useSignal } from "@preact/signals";
import type { Overview } from "../../server/comparisons";
import { ask, askNext, isAnswering } from "../../state/comparing";
import { isComposing } from "../../keys";
import { number } from "../../words";
import { compared } from "../../words/compare";

/** A question of the reader's own, or one of the comparison's. */
export function AskForm({ overview }: { overview: Overview }) {
  const say = compared.value;
  const text = useSignal("");
  const columns = useSignal(2);
  const askOwn = () => {
    if (text.value.trim() && !isAnswering.value) void ask({ prompt: text.value }, columns.value);
  };
  return (
    <form
      class="ask-form"
      onSubmit={(event) => {
        event.preventDefault();
        askOwn();
      }}
    >
      {overview.takes_own_questions ? (
        <label class="choose own-question">
          <span>{say.yourQuestion}</span>
          <textarea
            rows={2}
            maxLength={20_000}
            value={text.value}
            onInput={(event) => (text.value = event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || event.shiftKey || isComposing(event)) return;
              event.preventDefault();
              askOwn();
            }}
          />
        </label>
      ) : (
        <p class="quiet">{say.noOwnQuestions}</p>
      )}
      <div class="choices-row">
        {overview.takes_own_questions && (
          <button type="submit" class="primary" disabled={!text.value.trim() || isAnswering.value}>
            {say.askButton}
          </button>
        )}
        {overview.questions.length > 0 && (
          <button type="button" class="quiet-button" disabled={isAnswering.value} onClick={() => askNext(columns.value)}>
            {say.nextQuestion}
          </button>
        )}
        {overview.columns > 2 && (
          <label class="choose">
            <span>{say.columns}</span>
            <select value={columns.value} onChange={(event) => (columns.value = Number(event.currentTarget.value))}>
              {Array.from({ length: overview.columns - 1 }, (_, n) => n + 2).map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </label>
        )}
      </div>
      {overview.questions.length > 0 && <QuestionList overview={overview} columns={columns.value} />}
    </form>
  );
}

function QuestionList({ overview, columns }: { overview: Overview; columns: number }) {
  return (
    <details class="question-list">
      <summary>{compared.value.listOfQuestions(number(overview.questions.length))}</summary>
      <ul>
        {overview.questions.map(({ id, row, prompt, language }) => (
          <li key={id}>
            <button type="button" disabled={isAnswering.value} onClick={() => void ask({ question: id }, columns)}>
              <small>{row}</small> <span lang={language || undefined}>{prompt}</span>
            </button>
          </li>
        ))}
      </ul>
    </details>
  );
}
