/** The frame of every figure: what it is, what it shows in words, and the same numbers as a table. */
import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { look } from "../words/look";

/** `columns` names them; the first value of a row names the row. */
export interface Table {
  columns: string[];
  rows: (string | number)[][];
}

interface FigureProps {
  title: string;
  finding: string; // in words: what the figure shows here
  table: () => Table; // made only when somebody asks for it
  tools?: ComponentChildren;
  children: ComponentChildren;
}

export function Figure({ title, finding, table, tools, children }: FigureProps) {
  const say = look.value;
  const name = useId();
  const [isTable, setTable] = useState(false);
  return (
    <figure class="figure" aria-labelledby={name}>
      <div class="figure-head">
        <h3 id={name}>{title}</h3>
        {tools}
        <button type="button" class="quiet-button" aria-pressed={isTable} onClick={() => setTable(!isTable)}>
          {say.asTable}
        </button>
      </div>
      {isTable ? <TableView name={title} table={table()} /> : children}
      <figcaption>{finding}</figcaption>
    </figure>
  );
}

function TableView({ name, table: { columns, rows } }: { name: string; table: Table }) {
  return (
    <div class="table-scroller" role="region" aria-label={name} tabindex={0}>
      <table>
        <thead>
          <tr>
            {columns.map((each, n) => (
              <th key={n} scope="col">
                {each}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([first, ...others], n) => (
            <tr key={n}>
              <th scope="row">{first}</th>
              {others.map((each, m) => (
                <td key={m}>{each}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
