/** Answers side by side without names, a vote, then the names, and one answer as another model reads it. */
import { isAnswering, isRevealed, missing, overview, round, texts } from "../../state/comparing";
import { compared } from "../../words/compare";
import { AskForm } from "./ask-form";
import { Ballot } from "./ballot";
import { Columns } from "./columns";
import { Rereading } from "./rereading";
import { Tally } from "./tally";

export function ComparePage() {
  const say = compared.value;
  return (
    <div class="scroller compare">
      <div class="compare-column">
        {missing.value && (
          <p class="no-view" role="status">
            <strong>{say.nothingOpen}</strong> <span lang="en">{missing.value}</span>
          </p>
        )}
        {overview.value && (
          <>
            <p class="quiet">{say.howItWorks}</p>
            <AskForm overview={overview.value} />
            {round.value?.prompt && <Question prompt={round.value.prompt} />}
            {texts.value.length > 0 && <Columns />}
            {round.value?.state === "failed" && <p class="ended failed">{say.couldNotAnswer}</p>}
            {round.value && !isAnswering.value && !isRevealed.value && round.value.state !== "failed" && <Ballot columns={round.value.columns} key={round.value.id} />}
            {isRevealed.value && <Rereading />}
            <Tally />
          </>
        )}
      </div>
    </div>
  );
}

function Question({ prompt }: { prompt: string }) {
  return (
    <section class="compare-question" aria-label={compared.value.theQuestion}>
      <p class="said">{prompt}</p>
    </section>
  );
}
