/** Where an arrow key leads. */

export interface Place {
  row: number;
  column: number;
}

/** The place that a key leads to in a grid, as the pattern for ARIA grids has it; undefined if the key leads nowhere. */
export function moveInGrid(event: KeyboardEvent, { row, column }: Place, rows: number, columns: number): Place | undefined {
  if (event.altKey || event.metaKey) return undefined;
  const step = moveOf(event.key, event.ctrlKey);
  if (!step) return undefined;
  const [down, right] = step;
  return { row: within(row + down, rows), column: within(column + right, columns) };
}

/** The place that a key leads to in a text or a list that is read in one direction. */
export function moveInLine(event: KeyboardEvent, at: number, length: number): number | undefined {
  if (event.altKey || event.metaKey || event.ctrlKey) return undefined;
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity, PageUp: -PAGE, PageDown: PAGE }[event.key];
  return step === undefined ? undefined : within(at + step, length);
}

const PAGE = 8; // cells

function moveOf(key: string, hasControl: boolean): readonly [number, number] | undefined {
  switch (key) {
    case "ArrowUp":
      return [-1, 0];
    case "ArrowDown":
      return [1, 0];
    case "ArrowLeft":
      return [0, -1];
    case "ArrowRight":
      return [0, 1];
    case "Home":
      return [hasControl ? -Infinity : 0, -Infinity];
    case "End":
      return [hasControl ? Infinity : 0, Infinity];
    case "PageUp":
      return [-PAGE, 0];
    case "PageDown":
      return [PAGE, 0];
    default:
      return undefined;
  }
}

const within = (at: number, length: number) => Math.min(Math.max(0, length - 1), Math.max(0, at));
