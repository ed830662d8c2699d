/** The same question to another model, or to the same one unedited, beside the answer that is looked into. */
import { useState } from "preact/hooks";
import type { Message } from "../../conversation";
import { models } from "../../state/models";
import type { TraceRequest } from "../../server/traces";
import { samplingOf } from "../../state/trying";
import { requestUpTo, traceTask, type Held } from "../../state/looking";
import { Compare, type Side } from "../../views/compare";
import { Choose } from "../../views/experts";
import { useView, type Source } from "../../views/source";
import { words } from "../../words";
import { look } from "../../words/look";
import { useWork, WorkStatus } from "./work-status";

export function CompareTab({ message, source }: { message: Message; source: Source }) {
  const say = words.value;
  const others = (models.value ?? []).map(({ id }) => id).filter((id) => id !== message.model || isEdited(source));
  const [chosen, setChosen] = useState(0);
  const model = others[chosen];
  const work = useWork(traceTask(requestForAnother(message, model)));
  if (model === undefined) return <p class="no-view">{say.noOtherModel}</p>;
  return (
    <>
      <p>{say.compareHint}</p>
      <div class="choices-row">
        <Choose label={say.model} names={others} at={chosen} choose={setChosen} />
        <button type="button" class="primary" disabled={work.state?.step === "working"} onClick={work.ask}>
          {say.compareWith(model)}
        </button>
      </div>
      <WorkStatus {...work} />
      {work.state?.step === "done" && <Compared message={message} source={source} other={work.state.result} />}
    </>
  );
}

/** With the sampling of the answer, as far as a trace takes it. */
function requestForAnother(message: Message, model: string | undefined): TraceRequest {
  const { temperature, seed, max_tokens } = samplingOf(message);
  return {
    ...requestUpTo(message.parent, model),
    ...(temperature === undefined ? {} : { temperature }),
    ...(seed === undefined ? {} : { seed }),
    ...(max_tokens === undefined ? {} : { max_tokens }),
  };
}

const isEdited = ({ trace }: Source) => trace.kind === "intervention";

function Compared({ message, source, other }: { message: Message; source: Source; other: Held }) {
  const [one, two] = [useView(source, "confidence"), useView(other.source, "confidence")];
  if (one.state !== "there" || two.state !== "there") return <p role="status">{look.value.computing}</p>;
  const sides: [Side, Side] = [
    { name: message.model ?? "", trace: source.trace, confidence: one.view },
    { name: other.source.trace.model.name, trace: other.source.trace, confidence: two.view },
  ];
  return <Compare sides={sides} />;
}
