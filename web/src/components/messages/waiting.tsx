import { models } from "../../state/models";
import type { PartialAnswer } from "../../state/open-conversations";
import { duration, number, percent, words } from "../../words";
import { Mark } from "../icons";
import { useClock } from "./clock";

/** What happens before the first word: the model is loaded, then the prompt is read. */
export function Waiting({ reading, model }: { reading: PartialAnswer["reading"]; model: string | undefined }) {
  if (reading) return <ReadingPrompt reading={reading} />;
  const { state, progress } = models.value?.find((each) => each.id === model) ?? {};
  if (state === "loading") return <LoadingModel progress={progress} />;
  return (
    <p class="waiting">
      <Mark breathing /> {words.value.waiting}
    </p>
  );
}

function ReadingPrompt({ reading }: { reading: NonNullable<PartialAnswer["reading"]> }) {
  const say = words.value;
  const now = useClock(true);
  const left = reading.seconds_left === null ? undefined : Math.max(0, reading.seconds_left - (now - reading.at) / 1000);
  return (
    <div class="waiting">
      <Mark breathing />
      <span>
        {say.readingOf(number(reading.done), number(reading.total))}
        {left !== undefined && `, ${say.timeLeft(duration(Math.ceil(left)))}`}
      </span>
      <progress aria-label={say.readingPrompt} value={reading.done} max={reading.total} />
    </div>
  );
}

/** `progress` is from 0 to 1, or not known. */
function LoadingModel({ progress }: { progress: number | undefined }) {
  const say = words.value;
  return (
    <div class="waiting">
      <Mark breathing />
      <span>{progress === undefined ? say.loadingModel : say.preparingModel(percent(progress))}</span>
      {progress !== undefined && <progress aria-label={say.loadingModel} value={progress} />}
    </div>
  );
}
