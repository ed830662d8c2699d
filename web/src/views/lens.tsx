/** The logit lens: what the model would say after each token if it stopped after each layer. */
import { useState } from "preact/hooks";
import { Figure } from "../figures/figure";
import { Grid, type Cell } from "../figures/grid";
import { Line } from "../figures/line";
import { pieceOf, probability, type Lens, type TracedToken } from "../trace";
import { number, portion } from "../words/language";
import { look } from "../words/look";
import { rowOf } from "./confidence";
import { quote } from "./quote";

interface LensProps {
  view: Lens;
  tokens: TracedToken[];
  at: number | undefined; // the token that is selected; what made it is read off before it
  onMove: (place: number) => void;
}

/** The last layer on top. A cell: the likeliest token, as light as it is likely. */
export function LensGrid({ view, tokens, at, onMove }: LensProps) {
  const say = look.value;
  const [top, setTop] = useState(0);
  const column = rowOf(view, at === undefined ? undefined : at - 1) ?? 0;
  const order = view.layers.map((_, n) => view.layers.length - 1 - n);
  const textAt = (n: number) => tokens.find((each) => each.place === view.places[n])?.text ?? "";
  const cell = (row: number, n: number): Cell => {
    const layer = order[row] ?? 0;
    const said = (m: number) => `${quote(pieceOf(view.pieces, view.ids[layer]?.[n]?.[m]))} ${portion(probability(view.logprobs[layer]?.[n]?.[m]))}`;
    return {
      text: pieceOf(view.pieces, view.ids[layer]?.[n]?.[0]),
      share: probability(view.logprobs[layer]?.[n]?.[0]),
      said: say.lensCell(number(view.layers[layer] ?? 0), quote(textAt(n)), (view.ids[layer]?.[n] ?? []).map((_, m) => said(m)).join(", ")),
      isMarked: view.came[n] !== -1 && view.ids[layer]?.[n]?.[0] === view.came[n],
    };
  };
  return (
    <>
      <Figure title={say.lens} finding={lensFinding(view, column)} table={() => lensTable(view, textAt)}>
        <Grid
          name={say.lensName}
          rows={order.map((n) => say.layerShort(number(view.layers[n] ?? 0)))}
          columns={view.places.map((_, n) => textAt(n))}
          cell={cell}
          at={{ row: top, column }}
          onFocus={({ row, column: to }) => {
            setTop(row);
            onMove((view.places[to] ?? 0) + 1);
          }}
        />
      </Figure>
      <LensPath view={view} column={column} onMove={(layer) => setTop(view.layers.length - 1 - layer)} at={view.layers.length - 1 - top} />
    </>
  );
}

/** Of the token that came next: how likely it was, layer by layer. */
function LensPath({ view, column, at, onMove }: { view: Lens; column: number; at: number; onMove: (layer: number) => void }) {
  const say = look.value;
  if ((view.came[column] ?? -1) === -1) return null;
  const came = quote(pieceOf(view.pieces, view.came[column]));
  const values = view.came_logprobs.map((row) => probability(row[column]));
  return (
    <Figure
      title={say.lensPath(came)}
      finding={pathFinding(view, column)}
      table={() => ({
        columns: [say.layer, say.probability, say.rank],
        rows: view.layers.map((layer, n) => [layer, portion(values[n] ?? 0), number(view.came_ranks[n]?.[column] ?? 0)]),
      })}
    >
      <Line
        name={say.lensPath(came)}
        values={values}
        range={[0, 1]}
        said={(n) => say.lensPathAt(number(view.layers[n] ?? 0), portion(values[n] ?? 0), number(view.came_ranks[n]?.[column] ?? 0))}
        at={at}
        onMove={onMove}
      />
    </Figure>
  );
}

/** The first layer from which on the token that came is the likeliest in every layer; undefined if it never is. */
export function settledAt(view: Lens, column: number): number | undefined {
  const isFirst = view.layers.map((_, n) => view.ids[n]?.[column]?.[0] === view.came[column]);
  const last = isFirst.lastIndexOf(false);
  return last === isFirst.length - 1 ? undefined : view.layers[last + 1];
}

function lensFinding(view: Lens, column: number): string {
  const say = look.value;
  const last = view.layers.length - 1;
  const [id, share] = [view.ids[last]?.[column]?.[0], probability(view.logprobs[last]?.[column]?.[0])];
  return say.lensFinding(quote(pieceOf(view.pieces, id)), portion(share));
}

function pathFinding(view: Lens, column: number): string {
  const say = look.value;
  const came = quote(pieceOf(view.pieces, view.came[column]));
  const layer = settledAt(view, column);
  return layer === undefined ? say.neverSettled(came) : say.settledAt(came, number(layer), number(view.layers.at(-1) ?? 0));
}

function lensTable(view: Lens, textAt: (n: number) => string) {
  const say = look.value;
  return {
    columns: [say.layer, ...view.places.map((_, n) => quote(textAt(n)))],
    rows: view.layers
      .map((layer, at) => [layer, ...view.places.map((_, n) => `${quote(pieceOf(view.pieces, view.ids[at]?.[n]?.[0]))} ${portion(probability(view.logprobs[at]?.[n]?.[0]))}`)])
      .reverse(),
  };
}
