import { Line } from "../../figures/line";
import { words } from "../../words";

interface MeterLineProps {
  name: string;
  values: (number | null)[];
  range: readonly [number, number];
  threshold?: number | undefined;
  said: (index: number) => string;
  at: number;
  onMove: (index: number) => void;
}

/** A small line under an answer, with its name. */
export function MeterLine({ name, ...line }: MeterLineProps) {
  return (
    <div>
      <p class="meter-name">{name}</p>
      <Line name={words.value.meterOf(name)} {...line} low />
    </div>
  );
}
