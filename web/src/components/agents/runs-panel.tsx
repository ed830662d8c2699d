import { useEffect } from "preact/hooks";
import { placed } from "../../citations";
import type { RunFacts } from "../../server/agents";
import { deleteRun, follow, isOver, isUnderWay, pastRuns, refreshRuns, runFaults, seenRuns } from "../../state/running";
import { closePanel, panel } from "../../state/view";
import { moment, number, words } from "../../words";
import { acting } from "../../words/agents";
import { AnswerText } from "../answer-text";
import { Icon } from "../icons";
import { Confirmation } from "../panels/confirmation";
import { Sheet } from "../panels/sheet";
import { QuestionCard, RunActions, RunRecord, RunStanding } from "./run-record";

/** Every run of the reader's agents, the newest first. */
export function RunsPanel() {
  const say = acting.value;
  useEffect(() => void refreshRuns(), []);
  return (
    <Sheet title={say.runs} place="centre wide" onClose={closePanel}>
      <p class="quiet">{say.runsExplained}</p>
      {pastRuns.value?.length === 0 && <p class="none-yet">{say.noRuns}</p>}
      <ul class="cards">
        {pastRuns.value?.map((each) => (
          <RunCard key={each.id} facts={each} />
        ))}
      </ul>
    </Sheet>
  );
}

function RunCard({ facts }: { facts: RunFacts }) {
  const say = acting.value;
  const { id, agent, task, created, state, spent } = facts;
  const steps = `${number(spent.steps ?? 0)} ${say.spentNames.steps ?? ""}`;
  return (
    <li class="card run-card">
      <button type="button" onClick={() => (panel.value = { kind: "run", run: id })}>
        <span class="choice-text">
          <strong>{task}</strong>
          <small>{[agent, moment(created), steps].join(" · ")}</small>
        </span>
        <StateOf state={state} />
      </button>
    </li>
  );
}

function StateOf({ state, isInterrupted = false }: { state: string; isInterrupted?: boolean }) {
  const say = acting.value;
  return <span class={`run-state ${state}`}>{isInterrupted ? say.interrupted : (say.states[state] ?? state)}</span>;
}

export function RunPanel({ run }: { run: string }) {
  const say = acting.value;
  const seen = seenRuns.value.get(run);
  const fault = runFaults.value.get(run);
  useEffect(() => void follow(run), []);
  const back = () => (panel.value = { kind: "runs" });
  return (
    <Sheet title={seen?.facts.agent ?? say.runs} place="centre wide" onClose={back}>
      {fault && <p class="fit too_large" role="alert">{say.runGone(fault)}</p>}
      {seen && (
        <div class="run whole-run" tabindex={-1}>
          <h3>{say.task}</h3>
          <p class="run-task">{seen.facts.task}</p>
          <h3>{say.record}</h3>
          <RunRecord seen={seen} />
          <RunStanding facts={seen.facts} />
          {seen.facts.waits_for && !isUnderWay(seen.facts) && <QuestionCard facts={seen.facts} question={seen.facts.waits_for} level={3} />}
          {seen.facts.answer !== null && (
            <>
              <h3>{seen.facts.state === "done" ? say.answer : say.stoppedWhy}</h3>
              <EndOf facts={seen.facts} answer={seen.facts.answer} />
            </>
          )}
          <RunActions facts={seen.facts} />
          <div class="row-of-buttons between">
            <StateOf state={seen.facts.state} isInterrupted={seen.facts.state === "running" && !isUnderWay(seen.facts)} />
            {isOver(seen.facts) && (
              <button type="button" class="plain danger" onClick={() => (panel.value = { kind: "remove-run", run })}>
                <Icon name="trash" /> {say.removeRun}
              </button>
            )}
          </div>
        </div>
      )}
    </Sheet>
  );
}

function EndOf({ facts, answer }: { facts: RunFacts; answer: string }) {
  const citations = (facts.citations ?? []).map((each) => placed(each, answer));
  return <AnswerText text={answer} growing={false} citations={citations} />;
}

export function ConfirmRemoveRun({ run }: { run: string }) {
  const say = acting.value;
  return (
    <Confirmation title={say.removeRunQuestion} text={say.removeRunExplained} detail={seenRuns.value.get(run)?.facts.task ?? run} yes={words.value.delete} act={() => void deleteRun(run)} back={() => (panel.value = { kind: "runs" })} isFinal />
  );
}
