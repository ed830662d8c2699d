import { useEffect, useState } from "preact/hooks";
import { listDirections, type DirectionRecord } from "../../server/directions";
import type { ModelRecord } from "../../server/models";
import { model } from "../../state/models";
import { errorText } from "../../state/notices";
import { isOwner } from "../../state/session";
import { watching } from "../../state/stored";
import { chooseProbe, mayProbe } from "../../state/watching";
import { Choose } from "../../views/experts";
import { words } from "../../words";

/** Whether answers are watched while they are written, and with which probe. */
export function Watching() {
  const say = words.value;
  const { isOn } = watching.value;
  if (!isOwner.value) return null;
  return (
    <section>
      <h3>{say.watching}</h3>
      <label class="check">
        <input type="checkbox" checked={isOn} aria-describedby="watching-hint" onChange={(event) => (watching.value = { ...watching.value, isOn: event.currentTarget.checked })} />
        <span>{say.watchAnswers}</span>
      </label>
      <p id="watching-hint" class="quiet">
        {say.watchingHint}
      </p>
      {isOn && model.value && <ProbeChoice key={model.value.id} model={model.value} />}
    </section>
  );
}

/** The directions that are stored for the model. */
function ProbeChoice({ model: chosen }: { model: ModelRecord }) {
  const say = words.value;
  const [directions, setDirections] = useState<DirectionRecord[] | string | undefined>(undefined);
  useEffect(() => void listDirections().then(setDirections, (problem: unknown) => setDirections(errorText(problem))), []);
  if (directions === undefined) return null;
  if (typeof directions === "string") return <p class="quiet">{say.noDirections(directions)}</p>;
  const names = directions.filter((each) => mayProbe(each, chosen)).map(({ name }) => name);
  const stored = watching.value.probes[chosen.id];
  if (stored !== undefined && !names.includes(stored)) names.push(stored); // removed meanwhile: it can still be taken back
  if (names.length === 0) return <p class="quiet">{say.noProbes(chosen.id)}</p>;
  return (
    <>
      <Choose label={say.probe} names={[say.noProbe, ...names]} at={stored === undefined ? 0 : names.indexOf(stored) + 1} choose={(n) => chooseProbe(chosen.id, names[n - 1])} />
      <p class="quiet">{say.probeHint}</p>
    </>
  );
}
