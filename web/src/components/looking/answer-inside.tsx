/** An answer that is looked into, in the conversation: its tokens as they were written, and what is known of them. */
import { useState } from "preact/hooks";
import { TokenText } from "../../figures/token-text";
import type { Message } from "../../conversation";
import { compute, lookAway, lookingAt } from "../../state/looking";
import { panel } from "../../state/view";
import { pieceOf, probability, type Confidence } from "../../trace";
import { Alternatives, underlined } from "../../views/confidence";
import { spreadOf } from "../../views/experts";
import { quote } from "../../views/quote";
import { useView, type Source } from "../../views/source";
import { number, portion, words } from "../../words";
import { look } from "../../words/look";
import { MeterLine } from "./meter-line";
import { WorkStatus } from "./work-status";

/** What stands between an answer and its tools while somebody looks inside. */
export function AnswerInside({ message }: { message: Message }) {
  const looking = lookingAt(message.id);
  if (looking?.step === "done") return <Found message={message} source={looking.result.source} />;
  return <WorkStatus state={looking} begin={() => compute(message.id)} stop={() => lookAway(message.id)} />;
}

function Found({ message, source }: { message: Message; source: Source }) {
  const confidence = useView(source, "confidence");
  if (confidence.state !== "there") return <p class="inside-note" role="status">{confidence.state === "loading" ? look.value.computing : confidence.why}</p>;
  return <Tokens message={message} source={source} confidence={confidence.view} />;
}

function Tokens({ message, source, confidence }: { message: Message; source: Source; confidence: Confidence }) {
  const say = words.value;
  const tokens = source.trace.tokens.filter(({ part }) => part === "answer");
  const first = tokens[0]?.place ?? 0;
  const [at, setAt] = useState(first);
  const [over, setOver] = useState<number | undefined>(undefined); // where the pointer is
  const shown = over === undefined ? at : first + over;
  return (
    <section class="answer-inside" aria-label={say.insideAnswer}>
      <TokenText name={look.value.theAnswer} tokens={underlined(tokens, confidence)} drawn="underline" at={at - first} onMove={(index) => setAt(first + index)} onHover={setOver} />
      <p class="quiet">{say.underlineMeaning}</p>
      <div class="alternatives-here" aria-live="polite">
        <Alternatives view={confidence} place={shown} />
      </div>
      <Meters source={source} confidence={confidence} first={first} at={at} onMove={setAt} />
      <button type="button" class="quiet-button" onClick={() => (panel.value = { kind: "inside", message: message.id })}>
        {say.openInside}
      </button>
    </section>
  );
}

interface MetersProps {
  source: Source;
  confidence: Confidence;
  first: number; // place of the answer's first token
  at: number;
  onMove: (place: number) => void;
}

/** Small lines under the answer, one a meter. */
function Meters({ source, confidence, first, at, onMove }: MetersProps) {
  const rows = confidence.places.map((place, row) => ({ place, row })).filter(({ place }) => place >= first);
  const token = (n: number) => quote(pieceOf(confidence.pieces, confidence.ids[rows[n]?.row ?? 0]));
  const shares = rows.map(({ row }) => probability(confidence.logprobs[row]));
  const here = rows.findIndex(({ place }) => place === at);
  const line = { at: Math.max(0, here), onMove: (n: number) => onMove(rows[n]?.place ?? first) };
  return (
    <div class="meters">
      <MeterLine name={look.value.confidence} values={shares} range={[0, 1]} said={(n) => look.value.tokenProbability(token(n), portion(shares[n] ?? 0))} {...line} />
      {source.trace.available.includes("experts") && <ExpertsMeter source={source} places={rows.map(({ place }) => place)} token={token} {...line} />}
    </div>
  );
}

function ExpertsMeter({ source, places, token, ...line }: { source: Source; places: number[]; token: (n: number) => string; at: number; onMove: (n: number) => void }) {
  const loaded = useView(source, "experts");
  if (loaded.state !== "there") return null;
  const { view } = loaded;
  const all = spreadOf(view);
  const values = places.map((place) => all[view.places.indexOf(place)] ?? null);
  return <MeterLine name={look.value.spread} values={values} range={[0, Math.max(Math.log2(view.top_k), 0.01)]} said={(n) => look.value.spreadAt(token(n), number(values[n] ?? 0, 2))} {...line} />;
}
