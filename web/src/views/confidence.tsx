/** How sure the model was of each token that it wrote. */
import { Figure } from "../figures/figure";
import { Line } from "../figures/line";
import type { ShownToken } from "../figures/token-text";
import { isHidden, pieceOf, probability, type Confidence, type TracedToken } from "../trace";
import { number, portion } from "../words/language";
import { look } from "../words/look";
import { quote } from "./quote";

/** Where in the view the token at that place stands; undefined where it is not in it. */
export function rowOf({ places }: { places: number[] }, place: number | undefined): number | undefined {
  const row = place === undefined ? -1 : places.indexOf(place);
  return row < 0 ? undefined : row;
}

type UnderlinedToken = Pick<TracedToken, "place" | "text"> & Partial<Pick<TracedToken, "channel">>;

/** The tokens as text, underlined by how likely each was. */
export function underlined(tokens: UnderlinedToken[], view: Pick<Confidence, "places" | "logprobs">): ShownToken[] {
  const rows = new Map(view.places.map((place, row) => [place, row]));
  return tokens.map(({ place, text, channel }) => {
    const row = rows.get(place);
    if (row === undefined) return { text, said: quote(text), share: null, channel: channel ?? undefined };
    const share = probability(view.logprobs[row]);
    return { text, said: look.value.tokenProbability(quote(text), portion(share)), share, channel: channel ?? undefined };
  });
}

/** The probability of each token, as a line. */
export function ConfidenceLine({ view, at, onMove }: { view: Confidence; at: number | undefined; onMove: (place: number) => void }) {
  const say = look.value;
  const shares = view.logprobs.map(probability);
  const lowest = shares.indexOf(Math.min(...shares));
  const said = (row: number) => say.tokenProbability(quote(pieceOf(view.pieces, view.ids[row])), portion(shares[row] ?? 0));
  const mean = shares.reduce((sum, each) => sum + each, 0) / Math.max(1, shares.length);
  return (
    <Figure
      title={say.confidence}
      finding={shares.length === 0 ? say.nothingHere : say.confidenceFinding(portion(mean), quote(pieceOf(view.pieces, view.ids[lowest])), portion(shares[lowest] ?? 0))}
      table={() => ({
        columns: [say.place, say.token, say.probability, say.rank, say.entropyBits, say.likeliest],
        rows: view.places.map((place, row) => [
          place, quote(pieceOf(view.pieces, view.ids[row])), portion(shares[row] ?? 0), view.ranks[row] ?? "", number(bits(view.entropy[row] ?? 0), 2), quote(pieceOf(view.pieces, view.alternative_ids[row]?.[0])),
        ]),
      })}
    >
      <Line name={say.confidence} values={shares} range={[0, 1]} said={said} at={rowOf(view, at)} onMove={(row) => onMove(view.places[row] ?? 0)} />
    </Figure>
  );
}

/** What else the model thought of writing there. */
export function Alternatives({ view, place }: { view: Omit<Confidence, "view" | "kind" | "how">; place: number | undefined }) {
  const say = look.value;
  const row = rowOf(view, place);
  if (row === undefined) return <p class="quiet">{say.noNumbersFor}</p>;
  const ids = view.alternative_ids[row] ?? [];
  const written = view.ids[row];
  const found = isHidden(written) ? (view.ranks[row] ?? 0) - 1 : ids.indexOf(written ?? -1); // without ids, the rank says which it was
  return (
    <table class="alternatives">
      <caption>{say.alternatives}</caption>
      <tbody>
        {ids.map((id, n) => (
          <tr key={n} class={n === found ? "came" : ""}>
            <th scope="row">
              {quote(pieceOf(view.pieces, id))}
              {n === found && <small> {say.wasWritten}</small>}
            </th>
            <td>{portion(probability(view.alternative_logprobs[row]?.[n]))}</td>
          </tr>
        ))}
        {!(found in ids) && (
          <tr class="came">
            <th scope="row">
              {quote(pieceOf(view.pieces, view.ids[row]))} <small>{say.wasWrittenRank(number(view.ranks[row] ?? 0))}</small>
            </th>
            <td>{portion(probability(view.logprobs[row]))}</td>
          </tr>
        )}
      </tbody>
    </table>
  );
}

/** Nats as bits, which more people have met. */
export const bits = (nats: number): number => nats / Math.LN2;
