import { useState } from "preact/hooks";
import type { Sampling } from "../../conversation";
import { changeSettings, settings } from "../../state/settings";
import { number, words } from "../../words";

interface SamplingField {
  name: keyof Sampling;
  label: "temperature" | "topP" | "topK" | "minP" | "seed" | "maxTokens";
  low: number;
  high: number;
  step: number;
}

/** What the server takes (docs/guides/web.md). */
const FIELDS: SamplingField[] = [
  { name: "temperature", label: "temperature", low: 0, high: 2, step: 0.05 },
  { name: "top_p", label: "topP", low: 0.01, high: 1, step: 0.01 },
  { name: "top_k", label: "topK", low: 0, high: 1000, step: 1 },
  { name: "min_p", label: "minP", low: 0, high: 1, step: 0.01 },
  { name: "seed", label: "seed", low: 0, high: 4294967295, step: 1 },
  { name: "max_tokens", label: "maxTokens", low: 1, high: 1000000, step: 1 },
];

/** A number within its field's range, undefined for nothing, or null for what is no such number. */
export function readNumber(text: string, { low, high, step }: Pick<SamplingField, "low" | "high" | "step">): number | undefined | null {
  if (text.trim() === "") return undefined;
  const value = Number(text.replace(",", "."));
  return Number.isFinite(value) && value >= low && value <= high && (step < 1 || Number.isInteger(value)) ? value : null;
}

/** The numbers of sampling, as text: an empty field is the model's default, and a wrong number is not applied. */
export function SamplingFields() {
  return (
    <div class="numbers">
      {FIELDS.map((field) => (
        <NumberInput key={field.name} field={field} />
      ))}
    </div>
  );
}

function NumberInput({ field }: { field: SamplingField }) {
  const set = settings.value.sampling?.[field.name];
  const [text, setText] = useState(set === undefined ? "" : String(set));
  const value = readNumber(text, field);
  const id = `number-${field.name}`;
  return (
    <div class="field number">
      <label for={id}>{words.value[field.label]}</label>
      <input
        id={id}
        type="text"
        inputMode="decimal"
        autocomplete="off"
        value={text}
        aria-invalid={value === null}
        aria-describedby={`${id}-hint`}
        onInput={(event) => {
          setText(event.currentTarget.value);
          apply(field, readNumber(event.currentTarget.value, field));
        }}
      />
      <small id={`${id}-hint`}>{value === null ? whatIsExpected(field) : words.value[`${field.label}Hint`]}</small>
    </div>
  );
}

function apply({ name }: SamplingField, value: number | undefined | null): void {
  if (value === null) return;
  const { [name]: _, ...others } = settings.value.sampling ?? {};
  changeSettings({ sampling: value === undefined ? others : { ...others, [name]: value } });
}

function whatIsExpected({ low, high, step }: SamplingField): string {
  const say = words.value;
  const range = say.outOfRange(number(low, 2), number(high));
  return step < 1 ? range : `${say.wholeNumber}, ${range}`;
}
