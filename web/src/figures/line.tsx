/** A line over tokens or layers. A slider for who cannot see it: arrow keys move along it and its numbers are said. */
import { useRef, useState } from "preact/hooks";
import { moveInLine } from "./moves";

interface LineProps {
  name: string;
  values: (number | null)[]; // null: nothing is known there, and the line is broken
  range: readonly [number, number]; // of the values; those outside are drawn at its edge
  said: (index: number) => string;
  at?: number | undefined;
  onMove?: (index: number) => void;
  threshold?: number | undefined; // a line across, at that value
  low?: boolean; // a small line among text
}

const [WIDTH, HEIGHT, MARGIN] = [300, 60, 4];

export function Line({ name, values, range, said, at, onMove, threshold, low = false }: LineProps) {
  const [own, setOwn] = useState(0);
  const here = Math.min(values.length - 1, at ?? own);
  const latest = useRef(here); // keys may come faster than what they lead to is drawn
  latest.current = here;
  if (values.length === 0) return null;
  const go = (index: number) => {
    latest.current = index;
    setOwn(index);
    onMove?.(index);
  };
  const value = values[here] ?? null;
  return (
    <div
      class={low ? "line low" : "line"}
      role="slider"
      tabindex={0}
      aria-label={name}
      aria-valuemin={0}
      aria-valuemax={values.length - 1}
      aria-valuenow={here}
      aria-valuetext={said(here)}
      onKeyDown={(event) => {
        const to = moveInLine(event, latest.current, values.length);
        if (to === undefined) return;
        event.preventDefault();
        go(to);
      }}
      onClick={(event) => {
        const { left, width } = event.currentTarget.getBoundingClientRect();
        go(Math.min(values.length - 1, Math.max(0, Math.round(((event.clientX - left) / width) * (values.length - 1)))));
      }}
    >
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
        {threshold !== undefined && <line class="threshold" x1={0} x2={WIDTH} y1={heightOf(threshold, range)} y2={heightOf(threshold, range)} vector-effect="non-scaling-stroke" />}
        <path d={pathOf(values, range)} vector-effect="non-scaling-stroke" />
        {value !== null && <line class="here" x1={across(here, values.length)} x2={across(here, values.length)} y1={0} y2={HEIGHT} vector-effect="non-scaling-stroke" />}
      </svg>
      <span class="line-said" aria-hidden="true">
        {said(here)}
      </span>
    </div>
  );
}

const across = (index: number, all: number) => (all < 2 ? WIDTH / 2 : (index / (all - 1)) * WIDTH);

function heightOf(value: number, [low, high]: readonly [number, number]): number {
  const share = high === low ? 0.5 : Math.min(1, Math.max(0, (value - low) / (high - low)));
  return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN);
}

export function pathOf(values: (number | null)[], range: readonly [number, number]): string {
  let isPen = false;
  const points = values.map((value, index) => {
    if (value === null) {
      isPen = false;
      return "";
    }
    const point = `${isPen ? "L" : "M"}${across(index, values.length).toFixed(1)} ${heightOf(value, range).toFixed(1)}`;
    isPen = true;
    return values.length === 1 ? `M0 ${point.split(" ")[1]}L${WIDTH} ${point.split(" ")[1]}` : point;
  });
  return points.join("");
}
