/** One of a few, side by side. `choices` are values and what they are called. */
export function Choices<Value extends string>(props: {
  name: string;
  label: string;
  choices: [Value, string][];
  value: Value;
  choose: (value: Value) => void;
}) {
  return (
    <fieldset class="segments">
      <legend class="off-screen">{props.label}</legend>
      {props.choices.map(([value, name]) => (
        <label key={value}>
          <input type="radio" name={props.name} value={value} checked={props.value === value} onChange={() => props.choose(value)} />
          <span>{name}</span>
        </label>
      ))}
    </fieldset>
  );
}
