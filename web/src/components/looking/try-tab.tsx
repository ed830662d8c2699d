/** Change something inside the model and see what comes of it, beside a random change of the same size. */
import { useEffect, useState } from "preact/hooks";
import type { Message } from "../../conversation";
import { controlsOf, editsOf, randomFrom, type Change, type Sizes } from "../../edits";
import { getUnit, listDirections, type DirectionRecord } from "../../server/directions";
import type { Measured } from "../../state/measuring";
import { tryingTask, type Tried } from "../../state/trying";
import type { Task } from "../../state/work";
import { KindLabel } from "../../views/kind-label";
import type { Source } from "../../views/source";
import { number, signed, words } from "../../words";
import { ChangeForm, startingFields, type ChangeFields } from "./change-form";
import { useWork, WorkStatus } from "./work-status";

export function TryTab({ message, source }: { message: Message; source: Source }) {
  const say = words.value;
  const [directions, setDirections] = useState<DirectionRecord[] | string | undefined>(undefined);
  useEffect(() => void listDirections().then(setDirections, (problem: unknown) => setDirections(problem instanceof Error ? problem.message : String(problem))), []);
  const [fields, setFields] = useState<ChangeFields>(() => startingFields(source.trace));
  const known = Array.isArray(directions) ? directions : [];
  const work = useWork<Tried>(taskOf(message, source, fields, known));
  return (
    <>
      <p>{say.tryHint}</p>
      <ChangeForm trace={source.trace} directions={known} fields={fields} change={setFields} isWorking={work.state?.step === "working"} submit={work.ask} />
      {typeof directions === "string" && <p class="quiet">{say.noDirections(directions)}</p>}
      <WorkStatus {...work} />
      {work.state?.step === "done" && <ThreeColumns tried={work.state.result} />}
    </>
  );
}

const CONTROLS = 4; // random changes

/** The change is made ready when it is run: a direction is fetched, and of how many heads a control is drawn is asked. */
function taskOf(message: Message, source: Source, fields: ChangeFields, directions: DirectionRecord[]): Task<Tried> {
  const wanted = async () => {
    const change = await changeOf(fields, directions);
    const sizes = await sizesOf(source, fields);
    const { positions } = fields;
    const controls = controlsOf(change, sizes, randomFrom(fields.seed), CONTROLS).map((each) => editsOf(each, positions));
    return tryingTask(message, source.trace, { changed: editsOf(change, positions), controls, positions });
  };
  return { price: async (signal) => (await (await wanted()).price?.(signal)) ?? { seconds: 0, bytes: 0 }, run: async (signal, progress) => (await wanted()).run(signal, progress) };
}

async function changeOf({ kind, layer, part, which, factor, direction, strength }: ChangeFields, directions: DirectionRecord[]): Promise<Change> {
  if (kind === "scale") return { kind, layer, part, which, factor };
  const record = directions.find(({ name }) => name === direction);
  if (!record) throw new Error(words.value.chooseDirection);
  const norm = record.norms?.[layer] ?? 1;
  return { kind, layer, unit: await getUnit(record.name, layer), length: strength * norm };
}

async function sizesOf(source: Source, { kind, part, layer }: ChangeFields): Promise<Sizes> {
  const { layers } = source.trace.model;
  if (kind !== "scale") return { layers, each: 0 };
  if (part === "experts") return { layers, each: (await source.load("experts")).experts };
  if (part === "heads") return { layers, each: (await source.load("attention", { layer, query: 0 })).heads.length };
  return { layers, each: 0 };
}

/** Side by side: what was said, what is said with the change, and what a change by chance does. */
function ThreeColumns({ tried }: { tried: Tried }) {
  const say = words.value;
  return (
    <>
      <KindLabel kind="intervention" />
      <p class="finding">{findingOf(tried)}</p>
      <Measures {...tried.measured} />
      <div class="side-by-side three">
        {(["original", "changed", "control"] as const).map((which) => (
          <section key={which} aria-label={say.tried[which]}>
            <h3>{say.tried[which]}</h3>
            <p class="said">{tried[which]}</p>
          </section>
        ))}
      </div>
    </>
  );
}

/** The effect on the answer and the damage elsewhere, each beside what random changes do. */
function Measures({ answer, neutral, controls }: Measured) {
  const say = words.value;
  const rows = [
    [say.onAnswer, answer],
    [say.onNeutral, neutral],
  ] as const;
  return (
    <table class="alternatives measures">
      <caption>{say.measuresExplained(number(controls))}</caption>
      <thead>
        <tr>
          <th scope="col">{say.measuredOn}</th>
          <th scope="col">{say.theChange}</th>
          <th scope="col">{say.randomChanges}</th>
          <th scope="col">{say.whatItShows}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, { change, error, low, high }]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>{say.plusMinus(signed(change, 3), number(error, 3))}</td>
            <td>{say.fromTo(signed(low, 3), signed(high, 3))}</td>
            <td>{change < low || change > high ? say.beyondRandom : say.withinRandom}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What of it may be put down to the change. One answer is no evidence: the sentence says so. */
export function findingOf({ original, changed, control }: Tried): string {
  const say = words.value;
  if (changed === original) return say.changedNothing;
  return control === original ? say.onlyTheChange : say.bothChanged;
}
