/** Where the heads of a layer looked when the selected token was written. */
import { useState } from "preact/hooks";
import { Bars, type BarItem } from "../figures/bars";
import { Figure } from "../figures/figure";
import { Grid } from "../figures/grid";
import { TokenText, type ShownToken } from "../figures/token-text";
import type { Attention, TracedToken } from "../trace";
import { number, percent, portion } from "../words/language";
import { look } from "../words/look";
import { rowOf } from "./confidence";
import { quote } from "./quote";

interface AttentionProps {
  view: Attention;
  tokens: TracedToken[];
  query: number; // the place that looks
  onMove: (place: number) => void;
}

export function AttentionView({ view, tokens, query, onMove }: AttentionProps) {
  const say = look.value;
  const [head, setHead] = useState<number | undefined>(undefined); // its index; undefined: the mean of all
  const row = rowOf({ places: view.queries }, query);
  if (row === undefined) return <p class="no-view">{say.nothingHere}</p>;
  const shares = head === undefined ? meanOf(view.weights[row] ?? []) : (view.weights[row]?.[head] ?? []);
  const which = head === undefined ? say.meanOfHeads : `${say.head} ${number(view.heads[head] ?? 0)}`;
  return (
    <>
      <ShadedText view={view} tokens={tokens} row={row} shares={shares} which={which} sink={head === undefined ? undefined : view.sinks?.[row]?.[head]} onMove={onMove} />
      <HeadBars view={view} tokens={tokens} row={row} selected={head} onSelect={(index) => setHead(index === head ? undefined : index)} />
    </>
  );
}

export const meanOf = (rows: number[][]): number[] => (rows[0] ?? []).map((_, n) => rows.reduce((sum, row) => sum + (row[n] ?? 0), 0) / rows.length);

interface ShadedProps {
  view: Attention;
  tokens: TracedToken[];
  row: number;
  shares: number[];
  which: string;
  sink: number | undefined;
  onMove: (place: number) => void;
}

/** The tokens that are seen, as light as they are looked at; the heaviest is the lightest. */
function ShadedText({ view, tokens, row, shares, which, sink, onMove }: ShadedProps) {
  const say = look.value;
  const [at, setAt] = useState(0);
  const query = view.queries[row] ?? 0;
  const seen = tokens.filter(({ place }) => place <= query);
  const most = Math.max(...shares, Number.MIN_VALUE);
  const heaviest = shares.indexOf(most);
  const begins = view.window === null ? undefined : Math.max(0, query - view.window + 1);
  const shown: ShownToken[] = seen.map(({ place, text }) => {
    const share = shares[place] ?? 0;
    return { text, share: share / most, said: say.lookedAt(quote(text), portion(share)), isBracket: place === begins ? "from" : place === query && begins !== undefined ? "to" : undefined };
  });
  const text = (place: number) => quote(seen[place]?.text ?? "");
  const finding = `${say.attentionFinding(text(query), which, text(heaviest), portion(most))}${sink === undefined ? "" : ` ${say.sinkHas(portion(sink))}`}${view.window === null ? "" : ` ${say.windowOf(number(view.window))}`}`;
  return (
    <Figure
      title={say.attentionOf(number(view.layer), which)}
      finding={finding}
      table={() => ({ columns: [say.place, say.token, say.share], rows: seen.map((token) => [token.place, quote(token.text), portion(shares[token.place] ?? 0)]) })}
    >
      <TokenText name={say.attentionOf(number(view.layer), which)} tokens={shown} drawn="shade" at={at} onMove={setAt} />
      <p class="readout" role="status" aria-live="polite">
        {shown[at]?.said}
        <button type="button" class="quiet-button" onClick={() => onMove(seen[at]?.place ?? 0)}>
          {say.selectThis}
        </button>
      </p>
    </Figure>
  );
}

/** A head a bar: its sink first, then the token that it looks at most. Press one to see all that it looks at. */
function HeadBars({ view, tokens, row, selected, onSelect }: { view: Attention; tokens: TracedToken[]; row: number; selected: number | undefined; onSelect: (index: number) => void }) {
  const say = look.value;
  const items = view.heads.map((head, index): BarItem => {
    const shares = view.weights[row]?.[index] ?? [];
    const most = Math.max(...shares);
    const sink = view.sinks?.[row]?.[index];
    const isAtRest = view.at_rest[row]?.[index] === true;
    const said = say.headLooks(quote(tokens.find((each) => each.place === view.places[shares.indexOf(most)])?.text ?? ""), portion(most));
    return { name: `${say.head} ${number(head)}`, value: most, ...(sink === undefined ? {} : { before: sink }), isDim: isAtRest, said: [isAtRest ? say.atRest : "", said, sink === undefined ? "" : say.sinkShare(portion(sink))].filter(Boolean).join(", ") };
  });
  const resting = (view.at_rest[row] ?? []).filter(Boolean).length;
  return (
    <Figure
      title={say.headsOf(number(view.layer))}
      finding={view.sinks === null ? say.noSinks : say.headsFinding(number(resting), number(view.heads.length))}
      table={() => ({ columns: [say.headColumn, say.heaviest, ...(view.sinks === null ? [] : [say.sink])], rows: view.heads.map((head, n) => [head, items[n]?.said ?? "", ...(view.sinks === null ? [] : [portion(view.sinks[row]?.[n] ?? 0)])]) })}
    >
      <Bars name={say.headsOf(number(view.layer))} items={items} most={1} selected={selected} onSelect={onSelect} />
    </Figure>
  );
}

/** All of what one head looks at, token by token. */
export function HeadMatrix({ view, tokens, onMove }: { view: Attention; tokens: TracedToken[]; onMove: (place: number) => void }) {
  const say = look.value;
  const text = (place: number) => tokens.find((each) => each.place === place)?.text ?? "";
  const title = say.attentionOf(number(view.layer), `${say.head} ${number(view.heads[0] ?? 0)}`);
  const share = (row: number, column: number) => view.weights[row]?.[0]?.[column] ?? 0;
  return (
    <Figure
      title={title}
      finding={say.matrixFinding}
      table={() => ({ columns: [say.token, ...view.places.map((place) => quote(text(place)))], rows: view.queries.map((query, row) => [quote(text(query)), ...view.places.map((_, n) => portion(share(row, n)))]) })}
    >
      <Grid
        name={title}
        narrow
        rows={view.queries.map(text)}
        columns={view.places.map(text)}
        cell={(row, column) => ({ text: share(row, column) < 0.005 ? "" : percent(share(row, column)), share: share(row, column), said: say.matrixCell(quote(text(view.queries[row] ?? 0)), quote(text(view.places[column] ?? 0)), percent(share(row, column))) })}
        onSelect={({ row }) => onMove((view.queries[row] ?? 0) + 1)}
      />
    </Figure>
  );
}
