/** Two answers to the same question side by side: where their paths part, and what each model thought there. */
import { useState } from "preact/hooks";
import { Figure } from "../figures/figure";
import { Line } from "../figures/line";
import { TokenText, type ShownToken } from "../figures/token-text";
import { probability, type Confidence, type Trace, type TracedToken } from "../trace";
import { portion, signed } from "../words/language";
import { look } from "../words/look";
import { Alternatives, rowOf, underlined } from "./confidence";
import { quote } from "./quote";

/** One side of a comparison. */
export interface Side {
  name: string;
  trace: Trace;
  confidence: Confidence;
}

const answerOf = ({ trace }: Side): TracedToken[] => trace.tokens.filter(({ part }) => part === "answer");

/** The first token of each answer that does not say what the other says there; undefined: they say the same. */
export function partingOf(one: TracedToken[], other: TracedToken[]): [number, number] | undefined {
  const texts = [one, other].map((tokens) => tokens.map(({ text }) => text).join(""));
  const [first = "", second = ""] = texts;
  let same = 0;
  while (same < Math.min(first.length, second.length) && first[same] === second[same]) same += 1;
  if (same === first.length && same === second.length) return undefined;
  return [tokenAt(one, same), tokenAt(other, same)];
}

/** The token that the character at `place` is in; of an answer that ended before, as many as it has. */
function tokenAt(tokens: TracedToken[], place: number): number {
  let end = 0;
  const found = tokens.findIndex(({ text }) => (end += text.length) > place);
  return found < 0 ? tokens.length : found;
}

export function Compare({ sides }: { sides: [Side, Side] }) {
  const say = look.value;
  const answers = sides.map(answerOf) as [TracedToken[], TracedToken[]];
  const parting = partingOf(...answers);
  return (
    <>
      <p class="finding">{findingOf(sides, answers, parting)}</p>
      <div class="side-by-side">
        {sides.map((side, n) => (
          <SideView key={n} side={side} tokens={answers[n] ?? []} parting={parting?.[n]} />
        ))}
      </div>
      {answers[0].map(({ id }) => id).join() === answers[1].map(({ id }) => id).join() ? <Difference sides={sides} tokens={answers[0]} /> : <p class="quiet">{say.otherTokens}</p>}
    </>
  );
}

function findingOf(sides: [Side, Side], answers: [TracedToken[], TracedToken[]], parting: [number, number] | undefined): string {
  const say = look.value;
  if (!parting) return say.neverPart(sides[0].name, sides[1].name);
  const [one, other] = parting.map((at, n) => quote(answers[n]?.[at]?.text ?? say.end));
  return say.partAt(String(parting[0] + 1), sides[0].name, one ?? "", sides[1].name, other ?? "");
}

function SideView({ side, tokens, parting }: { side: Side; tokens: TracedToken[]; parting: number | undefined }) {
  const [at, setAt] = useState(Math.min(parting ?? 0, tokens.length - 1));
  const shown: ShownToken[] = underlined(tokens, side.confidence).map((token, n) => ({ ...token, isBracket: n === parting ? "from" : undefined }));
  return (
    <section aria-label={side.name}>
      <h3>{side.name}</h3>
      <TokenText name={side.name} tokens={shown} drawn="underline" at={at} onMove={setAt} />
      <Alternatives view={side.confidence} place={tokens[at]?.place} />
    </section>
  );
}

/** The same tokens: how much likelier each was for the one than for the other. */
function Difference({ sides: [one, other], tokens }: { sides: [Side, Side]; tokens: TracedToken[] }) {
  const say = look.value;
  const share = (side: Side, n: number) => probability(side.confidence.logprobs[rowOf(side.confidence, answerOf(side)[n]?.place) ?? -1]);
  const values = tokens.map((_, n) => share(one, n) - share(other, n));
  const most = Math.max(...values.map(Math.abs), 0.01);
  const widest = values.findIndex((value) => Math.abs(value) === Math.max(...values.map(Math.abs)));
  const said = (n: number) => say.differenceAt(quote(tokens[n]?.text ?? ""), one.name, portion(share(one, n)), other.name, portion(share(other, n)));
  return (
    <Figure
      title={say.difference(one.name, other.name)}
      finding={say.differenceFinding(said(widest))}
      table={() => ({ columns: [say.token, one.name, other.name, say.differenceColumn], rows: tokens.map((token, n) => [quote(token.text), portion(share(one, n)), portion(share(other, n)), signed(values[n] ?? 0, 3)]) })}
    >
      <Line name={say.difference(one.name, other.name)} values={values} range={[-most, most]} said={said} />
    </Figure>
  );
}
