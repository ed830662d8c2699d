import { useEffect, useRef, useState } from "preact/hooks";
import { Work, type Task, type WorkState } from "../../state/work";
import { bytes, duration, percent, words } from "../../words";
import { look } from "../../words/look";

/** Work that lasts no longer than what shows it. */
export function useWork<Result>(task: Task<Result>): { state: WorkState<Result> | undefined; ask: () => void; begin: () => void; stop: () => void } {
  const [state, setState] = useState<WorkState<Result> | undefined>(undefined);
  const work = useRef<Work<Result> | undefined>(undefined);
  useEffect(() => () => work.current?.stop(), []);
  return {
    state,
    ask: () => {
      work.current?.stop();
      work.current = new Work(task, setState);
      void work.current.ask();
    },
    begin: () => void work.current?.begin(),
    stop: () => work.current?.stop(),
  };
}

/** Where work stands, with what may be done about it; nothing before it is asked for and after it is done. */
export function WorkStatus({ state, begin, stop }: { state: WorkState<unknown> | undefined; begin: () => void; stop: () => void }) {
  const say = words.value;
  switch (state?.step) {
    case undefined:
    case "done":
      return null;
    case "pricing":
      return <p class="inside-note" role="status">{say.pricing}</p>;
    case "failed":
      return <p class="inside-note failed" role="alert">{say.lookFailed(state.why)}</p>;
    case "priced":
      return (
        <div class="inside-note" role="status">
          <p>{state.plan.bytes > 0 ? say.workPrice(duration(state.plan.seconds), bytes(state.plan.bytes)) : say.workTime(duration(state.plan.seconds))}</p>
          <button type="button" class="primary" onClick={begin}>
            {say.computeIt}
          </button>
          <button type="button" class="plain" onClick={stop}>
            {say.cancel}
          </button>
        </div>
      );
    case "working":
      return (
        <div class="inside-note" role="status">
          <p>{state.share === undefined ? look.value.computing : say.computedSoFar(percent(state.share))}</p>
          <progress aria-label={look.value.computing} {...(state.share === undefined ? {} : { value: state.share })} />
          <button type="button" class="plain" onClick={stop}>
            {say.cancel}
          </button>
        </div>
      );
  }
}
