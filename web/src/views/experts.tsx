/** Which experts a mixture chose, and how the work was spread. */
import { useState } from "preact/hooks";
import { Figure } from "../figures/figure";
import { Grid, type Cell } from "../figures/grid";
import { Line } from "../figures/line";
import type { Experts, TracedToken } from "../trace";
import { number, percent, portion } from "../words/language";
import { look } from "../words/look";
import { bits, rowOf } from "./confidence";
import { groupsOf, nameOf } from "./conversation";
import { quote } from "./quote";

/** Some of the tokens, under a name. */
interface Selection {
  name: string;
  places: number[];
}

export function ExpertsView({ view, tokens, at, onMove }: { view: Experts; tokens: TracedToken[]; at: number | undefined; onMove: (place: number) => void }) {
  const say = look.value;
  const token = tokens.find((each) => each.place === at);
  const all: Selection[] = [
    { name: say.allTokens, places: view.places },
    ...groupsOf(tokens).map((group) => ({ name: nameOf(group), places: group.map(({ place }) => place) })),
    ...(token ? [{ name: say.onlyToken(quote(token.text)), places: [token.place] }] : []),
  ];
  const [chosen, setChosen] = useState(0);
  const [against, setAgainst] = useState(-1);
  const selection = all[chosen] ?? all[0];
  if (!selection) return null;
  return (
    <>
      <div class="choices-row">
        <Choose label={say.selection} names={all.map(({ name }) => name)} at={chosen} choose={setChosen} />
        <Choose label={say.comparedWith} names={[say.nothing, ...all.map(({ name }) => name)]} at={against + 1} choose={(index) => setAgainst(index - 1)} />
      </div>
      <LoadGrid view={view} selection={selection} against={all[against]} />
      <SpreadLine view={view} tokens={tokens} at={at} onMove={onMove} />
      <ByMessage view={view} selections={all} />
    </>
  );
}

export function Choose({ label, names, at, choose }: { label: string; names: string[]; at: number; choose: (index: number) => void }) {
  return (
    <label class="choose">
      <span>{label}</span>
      <select value={String(at)} onChange={(event) => choose(Number(event.currentTarget.value))}>
        {names.map((name, n) => (
          <option key={n} value={String(n)}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

/** How often each expert was chosen at these places, as shares of the layer's choices: [layer][expert]. */
export function loadOf(view: Experts, places: number[]): number[][] {
  const rows = places.map((place) => rowOf(view, place)).filter((row) => row !== undefined);
  return view.layers.map((_, layer) => {
    const counts = Array.from({ length: view.experts }, () => 0);
    for (const row of rows) for (const expert of view.chosen[layer]?.[row] ?? []) counts[expert] = (counts[expert] ?? 0) + 1;
    return counts.map((count) => count / Math.max(1, rows.length * view.top_k));
  });
}

function LoadGrid({ view, selection, against }: { view: Experts; selection: Selection; against: Selection | undefined }) {
  const say = look.value;
  const load = loadOf(view, selection.places);
  const other = against && loadOf(view, against.places);
  const value = (layer: number, expert: number) => (load[layer]?.[expert] ?? 0) - (other?.[layer]?.[expert] ?? 0);
  const values = load.flatMap((row, layer) => row.map((_, expert) => Math.abs(value(layer, expert))));
  const most = Math.max(...values, Number.MIN_VALUE);
  const strongest = values.indexOf(Math.max(...values));
  const [layer, expert] = [Math.floor(strongest / view.experts), strongest % view.experts];
  const order = view.layers.map((_, n) => view.layers.length - 1 - n);
  const said = (n: number, e: number) => (other ? say.loadDifference(number(view.layers[n] ?? 0), number(e), percent(value(n, e))) : say.loadCell(number(view.layers[n] ?? 0), number(e), percent(value(n, e))));
  const cell = (row: number, e: number): Cell => {
    const n = order[row] ?? 0;
    return { text: value(n, e) === 0 ? "" : number(value(n, e) * 100), share: other ? (value(n, e) / most + 1) / 2 : value(n, e) / most, said: said(n, e) };
  };
  return (
    <Figure
      title={against ? say.loadAgainst(selection.name, against.name) : say.loadTitle(selection.name)}
      finding={`${said(layer, expert)} ${say.loadMeaning(number(view.experts), number(view.top_k))}`}
      table={() => ({ columns: [say.layer, ...Array.from({ length: view.experts }, (_, e) => number(e))], rows: view.layers.map((each, n) => [each, ...(load[n] ?? []).map((_, e) => portion(value(n, e)))]).reverse() })}
    >
      <Grid name={say.loadName} narrow rows={order.map((n) => say.layerShort(number(view.layers[n] ?? 0)))} columns={Array.from({ length: view.experts }, (_, e) => number(e))} cell={cell} at={{ row: order.indexOf(layer), column: expert }} />
    </Figure>
  );
}

/** How evenly each token's experts share its work, the mean over layers. */
export const spreadOf = (view: Pick<Experts, "places" | "entropy">): number[] => view.places.map((_, n) => bits(view.entropy.reduce((sum, row) => sum + (row[n] ?? 0), 0) / Math.max(1, view.entropy.length)));

function SpreadLine({ view, tokens, at, onMove }: { view: Experts; tokens: TracedToken[]; at: number | undefined; onMove: (place: number) => void }) {
  const say = look.value;
  const values = spreadOf(view);
  const most = Math.log2(view.top_k);
  const text = (n: number) => quote(tokens.find((each) => each.place === view.places[n])?.text ?? "");
  const said = (n: number) => say.spreadAt(text(n), number(values[n] ?? 0, 2));
  return (
    <Figure
      title={say.spread}
      finding={say.spreadMeaning(number(most, 2), number(view.top_k))}
      table={() => ({ columns: [say.place, say.token, say.entropyBits], rows: view.places.map((place, n) => [place, text(n), number(values[n] ?? 0, 2)]) })}
    >
      <Line name={say.spread} values={values} range={[0, Math.max(most, 0.01)]} said={said} at={rowOf(view, at)} onMove={(n) => onMove(view.places[n] ?? 0)} />
    </Figure>
  );
}

const BUSIEST = 5;

/** The busiest experts of each message, over all layers. */
function ByMessage({ view, selections }: { view: Experts; selections: Selection[] }) {
  const say = look.value;
  return (
    <div class="table-scroller" role="region" aria-label={say.byMessage} tabindex={0}>
      <table>
        <caption>{say.byMessage}</caption>
        <tbody>
          {selections.map(({ name, places }) => {
            const load = loadOf(view, places).flatMap((row, n) => row.map((share, expert) => ({ layer: view.layers[n] ?? 0, expert, share })));
            const busiest = load.sort((a, b) => b.share - a.share).slice(0, BUSIEST).filter(({ share }) => share > 0);
            return (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{busiest.map(({ layer, expert, share }) => say.busy(number(layer), number(expert), portion(share))).join("; ") || say.nothing}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
