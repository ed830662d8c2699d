/** An answer that is watched: its tokens and meters while it is written, and afterwards until its reader has seen enough. */
import { useState } from "preact/hooks";
import { TokenText } from "../../figures/token-text";
import { pieceOf, probability } from "../../trace";
import { Alternatives, underlined } from "../../views/confidence";
import { spreadOf } from "../../views/experts";
import { quote } from "../../views/quote";
import type { Probe, Watched } from "../../watched";
import { number, portion, words } from "../../words";
import { look } from "../../words/look";
import { MeterLine } from "./meter-line";

interface WatchedAnswerProps {
  watched: Watched;
  isWriting: boolean;
  close: () => void;
}

export function WatchedAnswer({ watched, isWriting, close }: WatchedAnswerProps) {
  const say = words.value;
  const { confidence } = watched;
  const [chosen, choose] = useState<number | undefined>(undefined); // until a token is chosen, the newest is shown
  const [over, setOver] = useState<number | undefined>(undefined); // where the pointer is
  if (!confidence || confidence.ids.length === 0) return null;
  const tokens = confidence.ids.map((id, n) => ({ place: confidence.places[n] ?? 0, text: pieceOf(confidence.pieces, id) }));
  const at = chosen ?? tokens.length - 1;
  return (
    <section class="answer-inside watched" aria-label={say.insideAnswer}>
      <TokenText name={look.value.theAnswer} tokens={underlined(tokens, confidence)} drawn="underline" at={at} onMove={choose} onHover={setOver} />
      <Meters watched={watched} texts={tokens.map(({ text }) => text)} at={at} onMove={choose} />
      <p class="quiet">{say.underlineMeaning}</p>
      <div class="alternatives-here" aria-live={isWriting ? "off" : "polite"}>
        <Alternatives view={confidence} place={tokens[over ?? at]?.place} />
      </div>
      {!isWriting && (
        <button type="button" class="quiet-button" onClick={close}>
          {say.showAsText}
        </button>
      )}
    </section>
  );
}

interface MetersProps {
  watched: Watched;
  texts: string[]; // of the tokens
  at: number;
  onMove: (index: number) => void;
}

function Meters({ watched: { confidence, experts, probes = {} }, texts, ...line }: MetersProps) {
  const shares = (confidence?.logprobs ?? []).map(probability);
  const token = (n: number) => quote(texts[n] ?? "");
  return (
    <div class="meters">
      <MeterLine name={look.value.confidence} values={shares} range={[0, 1]} said={(n) => look.value.tokenProbability(token(n), portion(shares[n] ?? 0))} {...line} />
      {experts && <Spread experts={experts} token={token} {...line} />}
      {Object.entries(probes).map(([name, probe]) => (
        <ProbeMeter key={name} name={name} probe={probe} token={token} {...line} />
      ))}
    </div>
  );
}

interface TokenMeterProps {
  token: (index: number) => string;
  at: number;
  onMove: (index: number) => void;
}

function Spread({ experts, token, ...line }: TokenMeterProps & { experts: NonNullable<Watched["experts"]> }) {
  const values = spreadOf(experts);
  const most = Math.log2(experts.chosen[0]?.[0]?.length ?? 1);
  return <MeterLine name={look.value.spread} values={values} range={[0, Math.max(most, 0.01)]} said={(n) => look.value.spreadAt(token(n), number(values[n] ?? 0, 2))} {...line} />;
}

function ProbeMeter({ name, probe, token, ...line }: TokenMeterProps & { name: string; probe: Probe }) {
  const { layer, threshold, projections } = probe;
  return (
    <MeterLine
      name={words.value.probeMeter(name, number(layer))}
      values={projections}
      range={rangeOf(probe)}
      threshold={threshold ?? undefined}
      said={(n) => saidOf(token(n), projections[n] ?? 0, threshold)}
      {...line}
    />
  );
}

/** From the lowest to the highest, the threshold included. */
export function rangeOf({ projections, threshold }: Probe): [number, number] {
  const all = threshold === null ? projections : [...projections, threshold];
  return [all.reduce((one, two) => Math.min(one, two), Infinity), all.reduce((one, two) => Math.max(one, two), -Infinity)];
}

function saidOf(token: string, value: number, threshold: number | null): string {
  const say = words.value;
  if (threshold === null) return say.projection(token, number(value, 2));
  return (value > threshold ? say.projectionAbove : say.projectionBelow)(token, number(value, 2), number(threshold, 2));
}
