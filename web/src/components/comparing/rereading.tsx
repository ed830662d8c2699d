/** One side's answer as the model of another side reads it. */
import { TokenText, type ShownToken } from "../../figures/token-text";
import type { Alternative, Reread, RereadToken } from "../../server/comparisons";
import { goOn, lookAt, reading, reread, round, type Reading } from "../../state/comparing";
import { quote } from "../../views/quote";
import { number, portion, precise } from "../../words";
import { compared } from "../../words/compare";

// The widest difference of an answer has the fullest colour, between these bounds. In nats, and in bits.
const [NARROW, WIDE] = [0.5, 5];
const [NARROW_BITS, WIDE_BITS] = [1, 10];

export function Rereading() {
  const say = compared.value;
  const { labels = [], rereads = [] } = round.value ?? {};
  const pairs = labels.flatMap((_, side) => labels.flatMap((__, by) => (side !== by && rereads[by] ? [[side, by] as const] : [])));
  const { value: shown } = reading;
  if (pairs.length === 0) return null;
  return (
    <section class="rereading" aria-label={say.tokenView}>
      <h2>{say.tokenView}</h2>
      <p class="quiet">{say.tokenViewExplained}</p>
      <div class="choices-row">
        {pairs.map(([side, by]) => (
          <button
            key={`${side} ${by}`}
            type="button"
            class="quiet-button"
            aria-pressed={shown?.side === side && shown.by === by}
            onClick={() => void reread(side, by)}
          >
            {say.readBy(labels[side] ?? "", String(side + 1), labels[by] ?? "")}
          </button>
        ))}
        {shown && (
          <button type="button" class="plain" onClick={() => (reading.value = null)}>
            {say.closeTokenView}
          </button>
        )}
      </div>
      {shown && !shown.found && <p role="status">{say.rereading}</p>}
      {shown?.found && (shown.found.same_tokens ? <Tokens shown={shown} found={shown.found} /> : <Words shown={shown} found={shown.found} />)}
    </section>
  );
}

const labelOf = (side: number) => round.value?.labels?.[side] ?? "";

function Legend({ shown, fullest }: { shown: Reading; fullest: string }) {
  const say = compared.value;
  return (
    <p class="legend">
      <span class="for">{say.likelierForWriter(labelOf(shown.side))}</span> <span class="against">{say.likelierForReader(labelOf(shown.by))}</span> <em>{fullest}</em>
    </p>
  );
}

function Tokens({ shown, found }: { shown: Reading; found: Reread & { same_tokens: true } }) {
  const say = compared.value;
  const { tokens, divergence } = found;
  const reader = labelOf(shown.by);
  const widest = widestOf(tokens.map(({ logprobs: [writer, other] }) => writer - other), NARROW, WIDE);
  const shownTokens: ShownToken[] = tokens.map(({ text, logprobs: [writer, other] }, place) => ({
    text,
    said: say.tokenSaid(quote(text), portion(Math.exp(writer)), portion(Math.exp(other))),
    share: shareOf(writer - other, widest),
    isBracket: place === divergence ? "from" : undefined,
  }));
  const parting = divergence === null ? undefined : tokens[divergence];
  const token = tokens[shown.at];
  return (
    <>
      <p class="finding">{parting ? say.firstParting(reader, quote(parting.text), quote(parting.top[1][0]?.text ?? "")) : say.wouldWriteTheSame(reader)}</p>
      <Legend shown={shown} fullest={say.fullestTimes(precise(Math.exp(widest)))} />
      <TokenText name={say.tokenView} tokens={shownTokens} drawn="balance" at={shown.at} onMove={lookAt} onHover={(place) => place !== undefined && lookAt(place)} />
      {token && (
        <>
          <p class="readout" aria-live="polite">
            {shownTokens[shown.at]?.said}
          </p>
          <div class="side-by-side">
            <Likeliest label={labelOf(shown.side)} token={token} which={0} />
            <Likeliest label={reader} token={token} which={1} />
          </div>
        </>
      )}
      {round.value?.rereads?.[shown.side] && (
        <button type="button" class="quiet-button" onClick={() => void goOn(shown.at)}>
          {say.goOnHere(reader)}
        </button>
      )}
      {shown.goesOn && <GoesOn tokens={tokens} goesOn={shown.goesOn} reader={reader} />}
    </>
  );
}

function GoesOn({ tokens, goesOn, reader }: { tokens: RereadToken[]; goesOn: NonNullable<Reading["goesOn"]>; reader: string }) {
  const say = compared.value;
  const before = tokens.slice(0, goesOn.position).map(({ text }) => text).join("");
  return (
    <section class="goes-on" role="status">
      <h3>{say.goesOn(reader)}</h3>
      {goesOn.text === null ? (
        <p>{say.writing}</p>
      ) : (
        <p class="said">
          <span class="quiet">{before}</span>
          <mark>{goesOn.text || say.emptyAnswer}</mark>
        </p>
      )}
    </section>
  );
}

function Likeliest({ label, token, which }: { label: string; token: RereadToken; which: 0 | 1 }) {
  const say = compared.value;
  return (
    <table class="alternatives">
      <caption>{say.likeliestOf(label)}</caption>
      <tbody>
        {token.top[which].map(({ text, logprob }: Alternative, n) => (
          <tr key={n} class={text === token.text ? "came" : ""}>
            <th scope="row">{quote(text)}</th>
            <td>{portion(Math.exp(logprob))}</td>
          </tr>
        ))}
        <tr>
          <th scope="row">
            <small>{say.allOthers}</small>
          </th>
          <td>{portion(token.rest[which])}</td>
        </tr>
      </tbody>
    </table>
  );
}

function Words({ shown, found }: { shown: Reading; found: Reread & { same_tokens: false } }) {
  const say = compared.value;
  const widest = widestOf(found.words.map(({ bits: [writer, reader] }) => (writer === null ? 0 : reader - writer)), NARROW_BITS, WIDE_BITS);
  const words: ShownToken[] = found.words.map(({ text, bits: [writer, reader] }) =>
    writer === null
      ? { text, said: say.wordSaidByReader(quote(text), number(reader, 1)), share: 1 - Math.min(1, reader / (2 * WIDE_BITS)) }
      : { text, said: say.wordSaid(quote(text), number(writer, 1), number(reader, 1)), share: shareOf(reader - writer, widest) },
  );
  const sums = [0, 1].map((which) => found.words.reduce((sum, { bits }) => sum + (bits[which] ?? 0), 0));
  const isKnown = found.words.every(({ bits }) => bits[0] !== null);
  return (
    <>
      <p class="finding">{say.otherTokens}</p>
      {isKnown && <Legend shown={shown} fullest={say.fullestBits(number(widest, 1))} />}
      <TokenText name={say.tokenView} tokens={words} drawn={isKnown ? "balance" : "shade"} at={shown.at} onMove={lookAt} onHover={(place) => place !== undefined && lookAt(place)} />
      <p class="readout" aria-live="polite">
        {words[shown.at]?.said}
      </p>
      <p class="quiet">
        {isKnown && say.bitsOfAnswer(labelOf(shown.side), number(sums[0] ?? 0, 1))} {say.bitsOfAnswer(labelOf(shown.by), number(sums[1] ?? 0, 1))}
      </p>
    </>
  );
}

const widestOf = (differences: number[], narrow: number, wide: number) => Math.min(wide, Math.max(narrow, ...differences.map(Math.abs)));

/** A difference as a share from 0 to 1, 0.5 where there is none. */
const shareOf = (difference: number, widest: number) => 0.5 + Math.max(-1, Math.min(1, difference / widest)) / 2;
