/** Change something inside the model and see what comes of it, beside a random change of the same size. */
import { useState } from "preact/hooks";
import type { Message } from "../../conversation";
import { controlOf, editsOf, randomFrom, type Change, type Sizes } from "../../edits";
import { tryingTask, type Tried } from "../../state/trying";
import type { Task } from "../../state/work";
import { KindLabel } from "../../views/kind-label";
import type { Source } from "../../views/source";
import { words } from "../../words";
import { ChangeForm, startingFields, type ChangeFields } from "./change-form";
import { useWork, WorkStatus } from "./work-status";

export function TryTab({ message, source }: { message: Message; source: Source }) {
  const say = words.value;
  const [fields, setFields] = useState<ChangeFields>(() => startingFields(source.trace));
  const work = useWork<Tried>(taskOf(message, source, fields));
  return (
    <>
      <p>{say.tryHint}</p>
      <ChangeForm trace={source.trace} fields={fields} change={setFields} isWorking={work.state?.step === "working"} submit={work.ask} />
      <WorkStatus {...work} />
      {work.state?.step === "done" && <ThreeColumns tried={work.state.result} />}
    </>
  );
}

/** How many heads a control is drawn from is asked when it is run. */
function taskOf(message: Message, source: Source, fields: ChangeFields): Task<Tried> {
  const wanted = async () => {
    const change: Change = { kind: "scale", layer: fields.layer, part: fields.part, which: fields.which, factor: fields.factor };
    const control = controlOf(change, await sizesOf(source, fields), randomFrom(fields.seed));
    return tryingTask(message, editsOf(change, fields.positions), editsOf(control, fields.positions));
  };
  return { price: async (signal) => (await wanted()).price(signal), run: async (signal, progress) => (await wanted()).run(signal, progress) };
}

async function sizesOf(source: Source, { part, layer }: ChangeFields): Promise<Sizes> {
  const { layers } = source.trace.model;
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

/** What of it may be put down to the change. One answer is no evidence: the sentence says so. */
export function findingOf({ original, changed, control }: Tried): string {
  const say = words.value;
  if (changed === original) return say.changedNothing;
  return control === original ? say.onlyTheChange : say.bothChanged;
}
