import { useEffect } from "preact/hooks";
import type { Message } from "../../conversation";
import { current } from "../../state/open-conversations";
import { follow, isOver, isUnderWay, runFaults, seenRuns, settle } from "../../state/running";
import { duration } from "../../words";
import { acting } from "../../words/agents";
import { Mark } from "../icons";
import { useClock } from "../messages/clock";
import { QuestionCard, RunActions, RunRecord, RunStanding } from "./run-record";

/** The run that an answer came of: folded once it is over, open while it goes on or waits. */
export function RunOfAnswer({ message, run }: { message: Message; run: string }) {
  const say = acting.value;
  const seen = seenRuns.value.get(run);
  const fault = runFaults.value.get(run);
  useEffect(() => {
    if (!seen) void follow(run);
  }, [run]);
  const isEnded = seen !== undefined && isOver(seen.facts);
  useEffect(() => {
    if (isEnded) settle(current.value.id, message.id, run);
  }, [isEnded, message.id]);
  if (fault && !seen) return <p class="quiet">{say.runGone(fault)}</p>;
  if (!seen) return <p class="waiting"><Mark breathing /> {say.beginning}</p>;
  const { facts, events } = seen;
  const steps = events.filter(({ event }) => event === "answer").length;
  return (
    <div class="run" tabindex={-1}>
      <details class="thoughts" open={!isEnded}>
        <summary>
          <Mark breathing={isUnderWay(facts)} />
          <span>{isUnderWay(facts) ? <Working since={facts.created} /> : say.steps(steps)}</span>
        </summary>
        <RunRecord seen={seen} />
      </details>
      <RunStanding facts={facts} />
      {facts.waits_for && !isUnderWay(facts) && <QuestionCard facts={facts} question={facts.waits_for} level={2} />}
      {isEnded && facts.state !== "done" && (
        <p class="ended">
          <span class={`run-state ${facts.state}`}>{say.states[facts.state] ?? facts.state}</span> {facts.answer}
        </p>
      )}
      {fault && <p class="ended failed">{say.runGone(fault)}</p>}
      <RunActions facts={facts} />
    </div>
  );
}

function Working({ since }: { since: string }) {
  useClock(true);
  return <>{acting.value.working(duration(Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 1000))))}</>;
}
