import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { isComposing } from "../../keys";
import type { Verdict } from "../../server/comparisons";
import { mayVote, reveal, vote } from "../../state/comparing";
import { voter } from "../../state/stored";
import { panel } from "../../state/view";
import { compared } from "../../words/compare";

const PLACES: Verdict[] = ["first", "second", "third", "fourth"];

/** What a key says of so many answers; undefined if it says nothing. */
export function verdictOf(key: string, columns: number): Verdict | undefined {
  if (key === "0") return "tie";
  if (key === "x" || key === "X") return "both_bad";
  return /^[1-4]$/.test(key) && Number(key) <= columns ? PLACES[Number(key) - 1] : undefined;
}

/** The vote: by button, or by key where nothing is being typed. */
export function Ballot({ columns }: { columns: number }) {
  const say = compared.value;
  const reason = useSignal("");
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLElement && event.target.matches("input:not([type=checkbox]), textarea, select");
      if (isTyping || panel.value || isComposing(event) || event.ctrlKey || event.altKey || event.metaKey) return;
      const verdict = verdictOf(event.key, columns);
      if (!verdict) return;
      event.preventDefault();
      void vote(verdict, reason.value);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [columns]);
  const verdicts: [Verdict, string, string][] = [
    ...PLACES.slice(0, columns).map((verdict, side): [Verdict, string, string] => [verdict, String(side + 1), say.bestIs(String(side + 1))]),
    ["tie", "0", say.tie],
    ["both_bad", "X", say.bothBad],
  ];
  return (
    <section class="ballot" aria-label={say.whichIsBetter}>
      <h2>{say.whichIsBetter}</h2>
      <div class="verdicts">
        {verdicts.map(([verdict, key, name]) => (
          <button key={verdict} type="button" class="quiet-button" disabled={!mayVote.value} aria-keyshortcuts={key} onClick={() => void vote(verdict, reason.value)}>
            <kbd aria-hidden="true">{key}</kbd> {name}
          </button>
        ))}
      </div>
      <div class="choices-row">
        <label class="choose">
          <span>{say.reason}</span>
          <input maxLength={1000} value={reason.value} onInput={(event) => (reason.value = event.currentTarget.value)} />
        </label>
        <label class="choose">
          <span>{say.voterLabel}</span>
          <input maxLength={60} autocomplete="off" value={voter.value} onInput={(event) => (voter.value = event.currentTarget.value)} />
        </label>
        <button type="button" class="plain" disabled={!mayVote.value} onClick={() => void reveal()}>
          {say.revealWithoutVote}
        </button>
      </div>
      <p class="quiet">
        {say.keysExplained} {say.voterExplained}
      </p>
    </section>
  );
}
