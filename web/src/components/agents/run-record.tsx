import type { Question, RunEvent, RunFacts, Target } from "../../server/agents";
import { decide, endRun, goOn, isOver, isUnderWay, type SeenRun } from "../../state/running";
import { number } from "../../words";
import { acting } from "../../words/agents";
import { Icon } from "../icons";

/** What an agent did, event by event. */
export function RunRecord({ seen }: { seen: SeenRun }) {
  const say = acting.value;
  return (
    <ol class="run-record" aria-label={say.record}>
      {seen.events.map((each) => (
        <EventOf key={each.n} event={each} events={seen.events} />
      ))}
    </ol>
  );
}

function EventOf({ event, events }: { event: RunEvent; events: RunEvent[] }) {
  const say = acting.value;
  switch (event.event) {
    case "answer":
      return (
        <>
          {event.reasoning && <Entry what={say.thought} text={event.reasoning} />}
          {event.text && event.calls?.length !== 0 && <Entry what={say.said} text={event.text} />}
          {event.calls?.filter(({ name }) => !isEnd(name, events, event)).map((call) => (
            <Entry key={call.id} kind="call" what={say.calls(call.name)} text={pretty(call.arguments)} isCode />
          ))}
        </>
      );
    case "result": {
      const { tool = "", ok, foreign } = event;
      return <Entry kind={ok === false ? "failed" : "result"} what={ok === false ? say.failed(tool) : say.result(tool)} flag={foreign ? say.foreignWords : ""} text={event.text ?? ""} isCode />;
    }
    case "refused":
      return <Entry kind="failed" what={say.refusedCall} text={event.text ?? ""} />;
    case "warned":
      return <Entry what={say.warned} text={event.text ?? ""} />;
    case "ask":
      return <Entry kind="ask" what={say.asked(event.tool ?? "")} text="" />;
    case "verdict":
      return <Entry kind={event.allowed ? "result" : "failed"} what={event.allowed ? say.approvedBy(event.by ?? "") : say.refusedBy(event.by ?? "")} text="" />;
    default:
      return null; // the task is the question above it, the end is the answer below it
  }
}

/** The call by which an agent ends whose every step is one: its text is the answer itself. */
const isEnd = (name: string, events: RunEvent[], { n }: RunEvent) => name === "answer" && events.some((each) => each.event === "stopped" && each.n === n + 1);

const FOLDED = 240; // characters

function Entry({ kind = "", what, flag = "", text, isCode = false }: { kind?: string; what: string; flag?: string; text: string; isCode?: boolean }) {
  const head = (
    <>
      <span class="event-what">{what}</span>
      {flag && <span class="foreign">{flag}</span>}
    </>
  );
  const body = text && <div class={isCode ? "event-text code-like" : "event-text"}>{text}</div>;
  return (
    <li class={`event ${kind}`}>
      {text.length > FOLDED ? (
        <details>
          <summary>
            {head} <span class="event-begin">{text.slice(0, 80).trim()}…</span>
          </summary>
          {body}
        </details>
      ) : (
        <>
          {head}
          {body}
        </>
      )}
    </li>
  );
}

function pretty(text: string): string {
  const pairs = pairsOf(text);
  return pairs ? pairs.map(([name, value]) => `${name}: ${value}`).join("\n") : text;
}

/** Arguments of a call by name; null where they are no object. */
function pairsOf(text: string): [string, string][] | null {
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
    return Object.entries(value).map(([name, each]) => [name, typeof each === "string" ? each : JSON.stringify(each)]);
  } catch {
    return null;
  }
}

/** What has been used of the budget, and whether other people's words were read. */
export function RunStanding({ facts }: { facts: RunFacts }) {
  const say = acting.value;
  const bounds = Object.entries(facts.budget).filter((each): each is [string, number] => each[1] !== null);
  return (
    <div class="run-standing">
      {facts.tainted && (
        <span class="tainted" title={say.taintedHint}>
          <Icon name="warning" /> {say.tainted}
        </span>
      )}
      <ul class="budget" aria-label={say.budget}>
        {bounds.map(([name, most]) => {
          const spent = facts.spent[name] ?? 0;
          const label = `${say.spentNames[name] ?? name}: ${say.spentOf(number(spent, spent < 10 ? 1 : 0), number(most))}`;
          return (
            <li key={name}>
              <small>{label}</small>
              <progress aria-label={label} value={Math.min(spent, most)} max={most} />
            </li>
          );
        })}
      </ul>
    </div>
  );
}

/** What waits for the reader: what will be done, to where, and where that came from. Nothing is chosen beforehand.
 * `level`: of its heading, which depends on what is around it. */
export function QuestionCard({ facts, question, level }: { facts: RunFacts; question: Question; level: 2 | 3 }) {
  const say = acting.value;
  const [Title, Part] = level === 2 ? (["h2", "h3"] as const) : (["h3", "h4"] as const);
  const { tool, call, effect } = question;
  const pairs = pairsOf(question.arguments);
  const answer = (isAllowed: boolean, { currentTarget }: { currentTarget: HTMLElement }) => {
    currentTarget.closest<HTMLElement>(".run")?.focus(); // the buttons go
    void decide(facts.id, call, isAllowed);
  };
  return (
    <section class="question-card" aria-labelledby={`asks-${call}`}>
      <Title id={`asks-${call}`} class="question-title">
        <Icon name="shield" /> {say.needsYou(facts.agent)}
      </Title>
      <Part>{say.willDo}</Part>
      <p>
        <code>{tool}</code> <span class={`effect ${effect}`}>{say.effects[effect] ?? effect}</span>
      </p>
      <dl class="arguments">
        {pairs?.length === 0 && <dd>{say.noArguments}</dd>}
        {(pairs ?? [["", question.arguments]]).map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {(effect !== "read" || question.targets.length > 0) && (
        <>
          <Part>{say.whereTo}</Part>
          {question.targets.length === 0 && <p>{say.noTargets}</p>}
          <ul class="targets">
            {question.targets.map((each, n) => (
              <TargetOf key={n} target={each} />
            ))}
          </ul>
        </>
      )}
      <Part>{say.whyAsked}</Part>
      <p class="quiet">{question.why}</p>
      <div class="row-of-buttons">
        <button type="button" class="plain refuse" aria-label={say.verdictOf(say.refuse, tool)} onClick={(event) => answer(false, event)}>
          {say.refuse}
        </button>
        <button type="button" class="primary" aria-label={say.verdictOf(say.approve, tool)} onClick={(event) => answer(true, event)}>
          {say.approve}
        </button>
      </div>
    </section>
  );
}

function TargetOf({ target }: { target: Target }) {
  const say = acting.value;
  const from = target.from === "result" && target.foreign ? "foreign" : target.from;
  const isStrange = from === "foreign" || from === "model";
  return (
    <li class={isStrange ? "target strange" : "target"}>
      <strong>{target.target}</strong>
      <span>
        {isStrange && <Icon name="warning" />} {say.origins[from]?.(target.tool ?? "")}
      </span>
    </li>
  );
}

/** Ending it, and going on where the server was stopped meanwhile. */
export function RunActions({ facts }: { facts: RunFacts }) {
  const say = acting.value;
  if (isOver(facts)) return null;
  const isInterrupted = facts.state === "running" && !isUnderWay(facts);
  return (
    <div class="run-actions">
      {isInterrupted && <span class="quiet">{say.interrupted}</span>}
      {isInterrupted && (
        <button type="button" class="plain" onClick={() => void goOn(facts.id)}>
          {say.goOn}
        </button>
      )}
      <button type="button" class="plain" onClick={() => void endRun(facts.id)}>
        {say.endRun}
      </button>
    </div>
  );
}
