/** Two prompts of as many tokens: which value, of which layer and token, carries the difference between them. */
import { useState } from "preact/hooks";
import type { PatchGrid } from "../../patch";
import { getPatch, PATCHES } from "../../server/traces";
import { serverTask } from "../../state/work";
import { Choose } from "../../views/experts";
import { HowComputed, KindLabel } from "../../views/kind-label";
import { PatchGridView } from "../../views/patch-grid";
import { words } from "../../words";
import { look } from "../../words/look";
import { useWork, WorkStatus } from "./work-status";

const DIRECTIONS = ["denoise", "noise"] as const;
const OVER = { attends: ["out", "attention.out", "mlp.out", "heads"], scans: ["out", "mixer.out"], mixes: ["out", "attention.out", "experts.out", "heads"] };

export function PatchTab({ model, available }: { model: string; available: string[] }) {
  const say = words.value;
  const [fields, setFields] = useState(say.patchExample);
  const [over, setOver] = useState(0);
  const [direction, setDirection] = useState(0);
  const values = available.includes("states") ? OVER.scans : available.includes("experts") ? OVER.mixes : OVER.attends;
  const asked = {
    model,
    clean: fields.clean,
    corrupted: fields.corrupted,
    metric: { of: fields.of, less: fields.less },
    over: values[over] ?? "out",
    direction: DIRECTIONS[direction] ?? "denoise",
  };
  const work = useWork<PatchGrid>({ run: serverTask(PATCHES, asked, getPatch).run });
  const isWorking = work.state?.step === "working";
  return (
    <>
      <p>{say.patchHint}</p>
      <form
        class="patch-form"
        onSubmit={(event) => {
          event.preventDefault();
          work.ask();
        }}
      >
        {(["clean", "corrupted", "of", "less"] as const).map((name) => (
          <label key={name} class={`choose ${name}`}>
            <span>{say.patchFields[name]}</span>
            <input value={fields[name]} required onInput={(event) => setFields({ ...fields, [name]: event.currentTarget.value })} />
          </label>
        ))}
        <Choose label={say.patchOver} names={values.map((each) => look.value.patchValues[each] ?? each)} at={over} choose={setOver} />
        <Choose label={say.patchDirection} names={DIRECTIONS.map((each) => say.patchQuestions[each])} at={direction} choose={setDirection} />
        <button type="submit" class="primary" disabled={isWorking}>
          {say.patchIt}
        </button>
      </form>
      <WorkStatus {...work} />
      {work.state?.step === "done" && (
        <>
          <KindLabel kind={work.state.result.kind} />
          <PatchGridView grid={work.state.result} />
          <HowComputed how={work.state.result.how} />
        </>
      )}
    </>
  );
}
