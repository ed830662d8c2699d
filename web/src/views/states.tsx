/** Families that scan instead of attending: how large the states are, and what reaches a token. */
import { useState } from "preact/hooks";
import { Figure } from "../figures/figure";
import { Grid, type Cell } from "../figures/grid";
import { TokenText } from "../figures/token-text";
import type { HiddenAttention, States, TracedToken } from "../trace";
import { number, precise } from "../words/language";
import { look } from "../words/look";
import { rowOf } from "./confidence";
import { quote } from "./quote";

export function StatesView({ view, tokens, at, onMove }: { view: States; tokens: TracedToken[]; at: number | undefined; onMove: (place: number) => void }) {
  const say = look.value;
  const text = (n: number) => tokens.find((each) => each.place === view.places[n])?.text ?? "";
  const order = view.layers.map((_, n) => view.layers.length - 1 - n);
  const most = Math.max(...view.norms.flat(), Number.MIN_VALUE);
  const said = (layer: number, n: number) => say.stateCell(quote(text(n)), number(view.layers[layer] ?? 0), precise(view.norms[layer]?.[n] ?? 0), precise(view.time_steps[layer]?.[n] ?? 0));
  const cell = (row: number, n: number): Cell => {
    const norm = view.norms[order[row] ?? 0]?.[n] ?? 0;
    return { text: precise(norm), share: norm / most, said: said(order[row] ?? 0, n) };
  };
  const largest = view.norms.findIndex((row) => row.includes(most));
  return (
    <Figure
      title={say.states}
      finding={say.statesFinding(said(largest, view.norms[largest]?.indexOf(most) ?? 0))}
      table={() => ({ columns: [say.layer, ...view.places.map((_, n) => quote(text(n)))], rows: view.layers.map((layer, n) => [layer, ...(view.norms[n] ?? []).map((norm) => precise(norm))]).reverse() })}
    >
      <Grid name={say.states} rows={order.map((n) => say.layerShort(number(view.layers[n] ?? 0)))} columns={view.places.map((_, n) => text(n))} cell={cell} narrow at={{ row: 0, column: rowOf(view, at) ?? 0 }} onFocus={({ column }) => onMove(view.places[column] ?? 0)} />
    </Figure>
  );
}

export function HiddenAttentionView({ view, tokens, onMove }: { view: HiddenAttention; tokens: TracedToken[]; onMove: (place: number) => void }) {
  const say = look.value;
  const [at, setAt] = useState(0);
  const most = Math.max(...view.added, Number.MIN_VALUE);
  const text = (place: number) => quote(tokens.find((each) => each.place === place)?.text ?? "");
  const shown = view.places.map((place, n) => ({ text: tokens.find((each) => each.place === place)?.text ?? "", share: (view.added[n] ?? 0) / most, said: say.reaches(text(place), precise(view.added[n] ?? 0)) }));
  return (
    <Figure
      title={say.hiddenAttention(number(view.layer))}
      finding={say.hiddenFinding(text(view.query), text(view.places[view.added.indexOf(most)] ?? 0), precise(most), precise(view.skip))}
      table={() => ({ columns: [say.place, say.token, say.added, say.weight], rows: view.places.map((place, n) => [place, text(place), precise(view.added[n] ?? 0), precise(view.weights[n] ?? 0)]) })}
    >
      <TokenText
        name={say.hiddenAttention(number(view.layer))}
        tokens={shown}
        drawn="shade"
        at={at}
        onMove={(index) => {
          setAt(index);
        }}
      />
      <p class="readout" role="status" aria-live="polite">
        {shown[at]?.said}
        <button type="button" class="quiet-button" onClick={() => onMove(view.places[at] ?? 0)}>
          {say.selectThis}
        </button>
      </p>
    </Figure>
  );
}
