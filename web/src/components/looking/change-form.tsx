/** What is changed, where, by how much and at which tokens. */
import { useId } from "preact/hooks";
import { numbersIn, type Part, type Positions } from "../../edits";
import type { DirectionRecord } from "../../server/directions";
import type { Trace } from "../../trace";
import { Choose } from "../../views/experts";
import { number, percent, words } from "../../words";

export interface ChangeFields {
  kind: "scale" | "add" | "subtract" | "project_out";
  layer: number;
  part: Part;
  which: number[]; // heads or experts; none: all
  factor: number;
  direction: string;
  strength: number; // as a share of the typical norm
  positions: Positions;
  seed: number; // of the control
}

const MOST_UNITS = 1024; // heads or experts of a layer that can be named; the server says which there are

export function startingFields(trace: Trace): ChangeFields {
  return { kind: "scale", layer: Math.floor(trace.model.layers / 2), part: partsOf(trace)[0] ?? "mlp", which: [], factor: 0, direction: "", strength: 0.25, positions: "all", seed: 1 };
}

/** What a layer of this family is made of, as far as it can be scaled. */
export function partsOf({ available }: Trace): Part[] {
  if (available.includes("states")) return ["mixer"];
  return ["heads", "attention", available.includes("experts") ? "experts" : "mlp"];
}

interface FormProps {
  trace: Trace;
  directions: DirectionRecord[];
  fields: ChangeFields;
  change: (fields: ChangeFields) => void;
  isWorking: boolean;
  submit: () => void;
}

const KINDS = ["scale", "add", "subtract", "project_out"] as const;
const POSITIONS = ["all", "prompt", "answer"] as const;

export function ChangeForm({ trace, directions, fields, change, isWorking, submit }: FormProps) {
  const say = words.value;
  const kinds = directions.length > 0 ? KINDS : KINDS.slice(0, 1);
  const layers = Array.from({ length: trace.model.layers }, (_, n) => n);
  const set = (more: Partial<ChangeFields>) => change({ ...fields, ...more });
  return (
    <form
      class="patch-form"
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
    >
      <Choose label={say.changeKind} names={kinds.map((each) => say.changeKinds[each])} at={kinds.indexOf(fields.kind)} choose={(n) => set({ kind: kinds[n] ?? "scale", direction: fields.direction || (directions[0]?.name ?? "") })} />
      <Choose label={say.changeLayer} names={layers.map((each) => number(each))} at={fields.layer} choose={(layer) => set({ layer })} />
      {fields.kind === "scale" ? <ScaleFields trace={trace} fields={fields} set={set} /> : <DirectionFields directions={directions} fields={fields} set={set} />}
      <Choose label={say.changePositions} names={POSITIONS.map((each) => say.positions[each])} at={POSITIONS.indexOf(fields.positions)} choose={(n) => set({ positions: POSITIONS[n] ?? "all" })} />
      <button type="submit" class="primary" disabled={isWorking}>
        {say.tryIt}
      </button>
    </form>
  );
}

interface PartProps {
  fields: ChangeFields;
  set: (more: Partial<ChangeFields>) => void;
}

function ScaleFields({ trace, fields, set }: PartProps & { trace: Trace }) {
  const say = words.value;
  const parts = partsOf(trace);
  return (
    <>
      <Choose label={say.changePart} names={parts.map((each) => say.parts[each])} at={parts.indexOf(fields.part)} choose={(n) => set({ part: parts[n] ?? "mlp", which: [] })} />
      {(fields.part === "heads" || fields.part === "experts") && (
        <label class="choose">
          <span>{say.whichUnits}</span>
          <input
            placeholder={say.allUnits}
            inputMode="numeric"
            onInput={(event) => {
              const which = numbersIn(event.currentTarget.value, MOST_UNITS);
              event.currentTarget.setCustomValidity(which ? "" : say.notNumbers);
              if (which) set({ which });
            }}
          />
        </label>
      )}
      <Slider label={say.changeFactor} value={fields.factor} most={2} set={(factor) => set({ factor })} />
    </>
  );
}

function DirectionFields({ directions, fields, set }: PartProps & { directions: DirectionRecord[] }) {
  const say = words.value;
  const names = directions.map(({ name }) => name);
  return (
    <>
      <Choose label={say.direction} names={names} at={Math.max(0, names.indexOf(fields.direction))} choose={(n) => set({ direction: names[n] ?? "", layer: directions[n]?.chosen ?? fields.layer })} />
      {fields.kind !== "project_out" && <Slider label={say.changeStrength} value={fields.strength} most={1} set={(strength) => set({ strength })} />}
    </>
  );
}

function Slider({ label, value, most, set }: { label: string; value: number; most: number; set: (value: number) => void }) {
  const id = useId();
  return (
    <div class="choose">
      <label for={id}>
        {label}: {percent(value)}
      </label>
      <input id={id} type="range" min={0} max={most} step={0.05} value={value} aria-valuetext={percent(value)} onInput={(event) => set(Number(event.currentTarget.value))} />
    </div>
  );
}
