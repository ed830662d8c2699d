/** Bars, each with its name and its number. Below zero they grow to the left. */

export interface BarItem {
  name: string;
  value: number;
  said: string; // the number as it is written beside the bar
  before?: number; // another share that is drawn first, in another colour; `said` names it
  kind?: "control"; // drawn another way, and named so in `name` or `said`: never by colour alone
  isDim?: boolean;
}

interface BarsProps {
  name: string;
  items: BarItem[];
  most?: number; // the value of a bar of full length; without it, the largest here
  selected?: number | undefined;
  onSelect?: (index: number) => void; // bars become buttons
}

export function Bars({ name, items, most, selected, onSelect }: BarsProps) {
  const full = most ?? Math.max(...items.map((each) => Math.abs(each.value)), Number.MIN_VALUE);
  const isSigned = items.some((each) => each.value < 0);
  return (
    <ul class={isSigned ? "bars signed" : "bars"} aria-label={name}>
      {items.map((each, index) => (
        <li key={index} class={each.isDim ? "dim" : ""}>
          {onSelect ? (
            <button type="button" aria-pressed={index === selected} onClick={() => onSelect(index)}>
              <BarParts item={each} full={full} />
            </button>
          ) : (
            <BarParts item={each} full={full} />
          )}
        </li>
      ))}
    </ul>
  );
}

function BarParts({ item: { name, value, said, kind, before = 0 }, full }: { item: BarItem; full: number }) {
  const length = (of: number) => `${Math.min(1, Math.abs(of) / full) * 100}%`;
  return (
    <>
      <span class="bar-name">{name}</span>
      <span class={value < 0 ? "track below" : "track"} aria-hidden="true">
        {before > 0 && <span class="fill before" style={{ width: length(before) }} />}
        <span class={`fill ${kind ?? ""}`} style={{ width: length(value) }} />
      </span>
      <span class="bar-value">{said}</span>
    </>
  );
}
