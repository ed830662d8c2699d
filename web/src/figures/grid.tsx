/** A grid of cells, rows by columns, as an ARIA grid: one stop for Tab, arrow keys inside, what is focused said in words. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { number } from "../words/language";
import { look } from "../words/look";
import { cividis } from "./cividis";
import { visible } from "./token-text";
import { moveInGrid, type Place } from "./moves";

export interface Cell {
  text: string; // short: it stands in the cell
  share: number; // 0 to 1: its lightness
  said: string; // the whole of it, in words, number included
  isNoise?: boolean; // within the noise band: greyed out
  isMarked?: boolean;
}

interface GridProps {
  name: string;
  rows: string[];
  columns: string[];
  cell: (row: number, column: number) => Cell;
  at?: Place | undefined; // where it begins; follows when it changes
  onSelect?: (place: Place) => void; // Enter, Space or a click
  onFocus?: (place: Place) => void;
  narrow?: boolean; // cells hold no more than a number
}

const MOST_COLUMNS = 40; // drawn at once

export function Grid(props: GridProps) {
  const { name, rows, columns, at, onSelect, onFocus } = props;
  const [place, setPlace] = useState<Place>(at ?? { row: 0, column: 0 });
  const body = useRef<HTMLTableElement>(null);
  const isMoving = useRef(false); // by a key, so the focus follows
  const latest = useRef(place); // keys may come faster than what they lead to is drawn
  latest.current = place;
  useEffect(() => {
    if (at && (at.row !== place.row || at.column !== place.column)) setPlace(at);
  }, [at?.row, at?.column]);
  useLayoutEffect(() => {
    const cell = body.current?.querySelector<HTMLElement>("[role=gridcell][tabindex='0']");
    if (isMoving.current) cell?.focus({ preventScroll: true });
    isMoving.current = false;
    if (cell) bringIntoView(cell);
  }, [place.row, place.column]);
  const go = (to: Place) => {
    latest.current = to;
    setPlace(to);
    onFocus?.(to);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" || event.key === " ") onSelect?.(latest.current);
    const to = moveInGrid(event, latest.current, rows.length, columns.length);
    if (to) {
      isMoving.current = true;
      go(to);
    }
    if (to || event.key === " ") event.preventDefault();
  };
  const from = windowAround(place.column, columns.length);
  const shown = columns.slice(from, from + MOST_COLUMNS);
  return (
    <>
      {columns.length > MOST_COLUMNS && <WindowTools from={from} all={columns.length} go={(column) => go({ ...place, column })} />}
      <div class="grid-scroller">
        <table ref={body} class={props.narrow ? "grid narrow" : "grid"} role="grid" aria-label={name} aria-rowcount={rows.length + 1} aria-colcount={columns.length + 1} onKeyDown={onKeyDown}>
          <GridHead columns={shown} from={from} selected={place.column} />
          <tbody>
            {rows.map((each, row) => (
              <GridRow key={row} {...props} label={each} row={row} from={from} count={shown.length} place={place} go={(to) => { go(to); onSelect?.(to); }} />
            ))}
          </tbody>
        </table>
      </div>
      <p class="readout" role="status" aria-live="polite">
        {rows.length > 0 && columns.length > 0 ? props.cell(Math.min(place.row, rows.length - 1), Math.min(place.column, columns.length - 1)).said : ""}
      </p>
    </>
  );
}

/** Inside the grid's own scroller only: the page stays where its reader has it. */
function bringIntoView(cell: HTMLElement): void {
  const scroller = cell.closest<HTMLElement>(".grid-scroller");
  const head = scroller?.querySelector<HTMLElement>("thead td");
  if (!scroller || !head) return;
  const [left, top] = [head.offsetWidth, head.offsetHeight]; // what always stays in view covers so much
  scroller.scrollLeft = Math.min(cell.offsetLeft - left, Math.max(scroller.scrollLeft, cell.offsetLeft + cell.offsetWidth - scroller.clientWidth));
  scroller.scrollTop = Math.min(cell.offsetTop - top, Math.max(scroller.scrollTop, cell.offsetTop + cell.offsetHeight - scroller.clientHeight));
}

/** The first column that is drawn: whole windows, so that the grid stands still while one moves inside. */
const windowAround = (column: number, all: number): number =>
  all <= MOST_COLUMNS ? 0 : Math.min(Math.floor(column / MOST_COLUMNS) * MOST_COLUMNS, all - MOST_COLUMNS);

function WindowTools({ from, all, go }: { from: number; all: number; go: (column: number) => void }) {
  const say = look.value;
  return (
    <div class="window-tools">
      <button type="button" class="quiet-button" disabled={from === 0} onClick={() => go(Math.max(0, from - 1))}>
        {say.earlier}
      </button>
      <span>{say.columnsOf(number(from + 1), number(from + MOST_COLUMNS), number(all))}</span>
      <button type="button" class="quiet-button" disabled={from + MOST_COLUMNS >= all} onClick={() => go(from + MOST_COLUMNS)}>
        {say.later}
      </button>
    </div>
  );
}

function GridHead({ columns, from, selected }: { columns: string[]; from: number; selected: number }) {
  return (
    <thead>
      <tr role="row" aria-rowindex={1}>
        <td role="columnheader" aria-colindex={1}>
          <span class="off-screen">{look.value.rowsAndColumns}</span>
        </td>
        {columns.map((each, n) => (
          <th key={from + n} role="columnheader" aria-colindex={from + n + 2} scope="col" class={from + n === selected ? "here" : ""}>
            <span>{visible(each)}</span>
          </th>
        ))}
      </tr>
    </thead>
  );
}

interface RowProps extends GridProps {
  label: string;
  row: number;
  from: number;
  count: number;
  place: Place;
  go: (to: Place) => void;
}

function GridRow({ label, row, from, count, place, cell, go }: RowProps) {
  return (
    <tr role="row" aria-rowindex={row + 2}>
      <th role="rowheader" aria-colindex={1} scope="row" class={row === place.row ? "here" : ""}>
        {label}
      </th>
      {Array.from({ length: count }, (_, n) => {
        const column = from + n;
        const { text, share, said, isNoise, isMarked } = cell(row, column);
        const { background, ink } = cividis(share);
        const isHere = row === place.row && column === place.column;
        return (
          <td
            key={column}
            role="gridcell"
            aria-colindex={column + 2}
            aria-label={said}
            aria-selected={isHere}
            tabindex={isHere ? 0 : -1}
            class={`cell${isNoise ? " noise" : ""}${isMarked ? " marked" : ""}`}
            style={isNoise ? {} : { backgroundColor: background, color: ink }}
            onClick={() => go({ row, column })}
          >
            <span>{text && visible(text)}</span>
          </td>
        );
      })}
    </tr>
  );
}
