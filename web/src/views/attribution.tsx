/** Which parts of the model made a token likely: its logit as a sum. */
import { Bars } from "../figures/bars";
import { Figure } from "../figures/figure";
import { Grid } from "../figures/grid";
import { pieceOf, type Attribution, type TracedToken } from "../trace";
import { number, signed } from "../words/language";
import { look } from "../words/look";
import { quote } from "./quote";

const MOST_BARS = 14;

export function AttributionView({ view, tokens }: { view: Attribution; tokens: TracedToken[] }) {
  const say = look.value;
  const order = view.parts.map((_, n) => n).sort((a, b) => Math.abs(view.values[b] ?? 0) - Math.abs(view.values[a] ?? 0));
  const shown = order.slice(0, MOST_BARS);
  const others = order.slice(MOST_BARS);
  const rest = others.reduce((sum, n) => sum + (view.values[n] ?? 0), 0);
  const token = quote(pieceOf(view.pieces, view.token));
  const after = quote(tokens.find(({ place }) => place === view.place)?.text ?? "");
  const first = order[0] ?? 0;
  return (
    <>
      <Figure
        title={say.attributionOf(token, after)}
        finding={`${say.attributionFinding(partName(view.parts[first] ?? ""), signed(view.values[first] ?? 0), token)} ${say.attributionSum(number(view.sum, 3), number(view.logit, 3), number(view.rounding, 3))}`}
        table={() => ({ columns: [say.part, say.logit], rows: view.parts.map((part, n) => [partName(part), number(view.values[n] ?? 0, 4)]) })}
      >
        <Bars
          name={say.attributionOf(token, after)}
          items={[
            ...shown.map((n) => ({ name: partName(view.parts[n] ?? ""), value: view.values[n] ?? 0, said: signed(view.values[n] ?? 0) })),
            ...(others.length > 0 ? [{ name: say.otherParts(number(others.length)), value: rest, said: signed(rest), isDim: true }] : []),
          ]}
        />
      </Figure>
      <PartGrid view={view} token={token} />
      {view.heads && <HeadGrid layers={view.head_layers ?? []} heads={view.heads} token={token} />}
    </>
  );
}

/** Of "layers.12.attention.out": in words. */
export function partName(part: string): string {
  const say = look.value;
  const found = /^layers\.(\d+)\.(.+)$/.exec(part);
  if (!found) return say.partNames[part] ?? part;
  const [, layer = "", name = ""] = found;
  return say.partOfLayer(number(Number(layer)), say.partNames[name] ?? name);
}

function PartGrid({ view, token }: { view: Attribution; token: string }) {
  const say = look.value;
  const named = view.parts.map((part, n) => ({ found: /^layers\.(\d+)\.(.+)$/.exec(part), value: view.values[n] ?? 0 })).filter(({ found }) => found);
  const layers = [...new Set(named.map(({ found }) => Number(found?.[1])))].sort((a, b) => b - a);
  const kinds = [...new Set(named.map(({ found }) => found?.[2] ?? ""))];
  const value = (layer: number | undefined, kind: string | undefined) => named.find(({ found }) => Number(found?.[1]) === layer && found?.[2] === kind)?.value;
  return <SignedGrid name={say.partsByLayer(token)} rows={layers} columns={kinds.map((kind) => say.partNames[kind] ?? kind)} value={(row, column) => value(layers[row], kinds[column])} />;
}

function HeadGrid({ layers, heads, token }: { layers: number[]; heads: number[][]; token: string }) {
  const say = look.value;
  const order = layers.map((_, n) => layers.length - 1 - n);
  const columns = (heads[0] ?? []).map((_, n) => `${say.head} ${number(n)}`);
  return <SignedGrid name={say.headsByLayer(token)} rows={order.map((n) => layers[n] ?? 0)} columns={columns} value={(row, column) => heads[order[row] ?? 0]?.[column]} />;
}

/** Zero is in the middle of the lightness; the number has its sign. */
function SignedGrid({ name, rows, columns, value }: { name: string; rows: number[]; columns: string[]; value: (row: number, column: number) => number | undefined }) {
  const say = look.value;
  const all = rows.flatMap((_, row) => columns.map((_, column) => value(row, column) ?? 0));
  const most = Math.max(...all.map(Math.abs), Number.MIN_VALUE);
  const strongest = all.findIndex((each) => Math.abs(each) === most);
  const at = { row: Math.max(0, Math.floor(strongest / columns.length)), column: Math.max(0, strongest % columns.length) };
  const said = (row: number, column: number) => {
    const here = value(row, column);
    return here === undefined ? say.nothingHere : say.partSaid(number(rows[row] ?? 0), columns[column] ?? "", signed(here));
  };
  return (
    <Figure title={name} finding={say.strongestIs(said(at.row, at.column))} table={() => ({ columns: [say.layer, ...columns], rows: rows.map((layer, row) => [layer, ...columns.map((_, column) => number(value(row, column) ?? 0, 4))]) })}>
      <Grid
        name={name}
        narrow
        rows={rows.map((layer) => say.layerShort(number(layer)))}
        columns={columns}
        at={at}
        cell={(row, column) => {
          const here = value(row, column);
          return { text: here === undefined ? "" : signed(here), share: here === undefined ? 0.5 : (here / most + 1) / 2, said: said(row, column) };
        }}
      />
    </Figure>
  );
}
