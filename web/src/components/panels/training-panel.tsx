import { useEffect, useState } from "preact/hooks";
import { curve, highestOf } from "../../figures/loss";
import { endTuning, listTunings, postTuning, readTuning, uploadExamples, type TuneJob } from "../../server/tunings";
import { model, models } from "../../state/models";
import { closePanel } from "../../state/view";
import { precise, words } from "../../words";
import { Sheet } from "./sheet";

const LOOK_MILLISECONDS = 1500;
const WIDTH = 480;
const HEIGHT = 120;
const NAME = "[a-z0-9][a-z0-9_.\\-]{0,63}";

const isOver = ({ state }: TuneJob) => state === "finished" || state === "failed" || state === "cancelled" || state === "expired";

/** For the owner: adapters that the server trains and has trained, with their losses, and one more. */
export function TrainingPanel() {
  const say = words.value;
  const [jobs, setJobs] = useState<TuneJob[]>();
  const [fault, setFault] = useState("");
  const look = async () => {
    try {
      setJobs(await Promise.all((await listTunings()).map((job) => readTuning(job.id))));
    } catch (problem) {
      setFault(problem instanceof Error ? problem.message : String(problem));
    }
  };
  useEffect(() => {
    void look();
    const timer = setInterval(() => void look(), LOOK_MILLISECONDS);
    return () => clearInterval(timer);
  }, []);
  return (
    <Sheet title={say.training} place="centre wide" onClose={closePanel}>
      <p class="quiet">{say.trainingHint}</p>
      {fault && <p class="fit too_large" role="alert">{fault}</p>}
      {jobs?.length === 0 && <p>{say.noTraining}</p>}
      <ul class="cards">
        {jobs?.map((job) => (
          <JobCard key={job.id} job={job} changed={look} />
        ))}
      </ul>
      <NewTraining begun={look} failed={setFault} />
    </Sheet>
  );
}

function JobCard({ job, changed }: { job: TuneJob; changed: () => Promise<void> }) {
  const say = words.value;
  const { name, model: base } = job.asked;
  const state = job.adapter ? (say.adapterStates[job.adapter.state] ?? job.adapter.state) : (say.jobStates[job.state] ?? job.state);
  const act = () => void endTuning(job.id).then(changed);
  return (
    <li class="card training">
      <span class="choice-text">
        <strong>{`${base}+${name}`}</strong>
        <small>{`${state} · ${say.stepsDone(String(job.steps.done), job.steps.of === null ? "…" : String(job.steps.of))}`}</small>
        {job.errors.map((each) => (
          <small key={each.message} class="fit too_large">
            {each.message}
          </small>
        ))}
        <LossCurve job={job} />
      </span>
      <button type="button" class="plain" aria-label={say.about(isOver(job) ? say.forgetJob : say.stopTraining, name)} onClick={act}>
        {isOver(job) ? say.forgetJob : say.stopTraining}
      </button>
    </li>
  );
}

function LossCurve({ job }: { job: TuneJob }) {
  const say = words.value;
  const rows = job.metrics ?? [];
  const highest = highestOf(rows);
  const steps = job.steps.of ?? job.steps.done;
  const loss = curve(rows, "loss", WIDTH, HEIGHT, highest, steps);
  const heldOut = curve(rows, "held_out", WIDTH, HEIGHT, highest, steps);
  if (!loss) return null;
  const said = [`${say.loss} ${precise(loss.last)}`, heldOut && `${say.heldOutLoss} ${precise(heldOut.last)}`].filter(Boolean).join(", ");
  return (
    <figure class="loss">
      <svg viewBox={`-2 -2 ${WIDTH + 4} ${HEIGHT + 4}`} role="img" aria-label={said} preserveAspectRatio="none">
        <polyline class="learnt" points={loss.points} />
        {heldOut && <polyline class="held-out" points={heldOut.points} />}
      </svg>
      <figcaption>
        <small>{said}</small>
      </figcaption>
    </figure>
  );
}

function NewTraining({ begun, failed }: { begun: () => Promise<void>; failed: (said: string) => void }) {
  const say = words.value;
  const [file, setFile] = useState<File>();
  const [busy, setBusy] = useState(false);
  const begin = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    failed("");
    try {
      const data = file ? await uploadExamples(file) : "corrections";
      const minutes = Number(form.get("minutes"));
      await postTuning({ model: String(form.get("model")), data, name: String(form.get("name")), recipe: minutes ? { optimise: { minutes } } : {} });
      await begun();
    } catch (problem) {
      failed(problem instanceof Error ? problem.message : String(problem));
    } finally {
      setBusy(false);
    }
  };
  return (
    <form class="new-training" onSubmit={(event) => void begin(event as unknown as SubmitEvent)}>
      <h3>{say.newTraining}</h3>
      <label>
        {say.model}
        <select name="model" value={model.value?.id}>
          {models.value?.map((each) => (
            <option key={each.id}>{each.id}</option>
          ))}
        </select>
      </label>
      <label>
        {say.examplesFile}
        <input type="file" accept=".jsonl,.json,.csv,.parquet" onChange={(event) => setFile(event.currentTarget.files?.[0])} />
      </label>
      <p class="quiet">{say.examplesOrCorrections}</p>
      <label>
        {say.adapterName}
        <input name="name" required pattern={NAME} autocomplete="off" />
      </label>
      <label>
        {say.minutes}
        <input name="minutes" type="number" min="1" max="10000" value="20" />
      </label>
      <div class="row-of-buttons end">
        <button type="submit" disabled={busy}>
          {say.beginTraining}
        </button>
      </div>
    </form>
  );
}
