/** What is known of the selected token. */
import { isHidden, probability, type Confidence, type Trace } from "../trace";
import { number, portion } from "../words/language";
import { look } from "../words/look";
import { Alternatives, bits, rowOf } from "./confidence";
import { quote } from "./quote";

export function Facts({ trace, confidence, at }: { trace: Trace; confidence: Confidence | undefined; at: number | undefined }) {
  const say = look.value;
  const token = trace.tokens.find((each) => each.place === at);
  const row = confidence && rowOf(confidence, at);
  return (
    <section class="facts" aria-label={say.facts}>
      {token ? (
        <>
          <h3>{quote(token.text)}</h3>
          <dl>
            <Fact name={say.place} value={number(token.place)} />
            {!isHidden(token.id) && <Fact name={say.tokenId} value={String(token.id)} />}
            {token.channel !== null && <Fact name={say.channel} value={say.channels[token.channel] ?? token.channel} />}
            {confidence && row !== undefined && (
              <>
                <Fact name={say.probability} value={portion(probability(confidence.logprobs[row]))} />
                <Fact name={say.rank} value={number(confidence.ranks[row] ?? 0)} />
                <Fact name={say.entropy} value={say.bitsOf(number(bits(confidence.entropy[row] ?? 0), 2))} />
              </>
            )}
          </dl>
          {confidence && <Alternatives view={confidence} place={at} />}
        </>
      ) : (
        <p class="quiet">{at === trace.tokens.length ? say.notWritten : say.selectToken}</p>
      )}
      <Provenance trace={trace} />
    </section>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** Which weights and which build: what makes it possible to check. */
function Provenance({ trace }: { trace: Trace }) {
  const say = look.value;
  const facts = Object.entries(trace.model).filter(([, value]) => typeof value === "string" || typeof value === "number" || typeof value === "boolean");
  return (
    <details class="how">
      <summary>{say.madeWith}</summary>
      <dl>
        {facts.map(([name, value]) => (
          <Fact key={name} name={name.replaceAll("_", " ")} value={String(value)} />
        ))}
        {trace.receipt !== null && <Fact name={say.receiptDigest} value={trace.receipt} />}
      </dl>
    </details>
  );
}
