import type { Ranked, Standings } from "../../server/comparisons";
import { round, standings } from "../../state/comparing";
import { number, signed } from "../../words";
import { compared } from "../../words/compare";

/** How many votes there are; and once there are enough, what they show. */
export function Tally() {
  const say = compared.value;
  const found = standings.value;
  if (!found) return null;
  return (
    <section class="tally" aria-label={say.tally}>
      {round.value?.counted !== undefined && <p role="status">{round.value.counted ? say.counted : say.notCounted}</p>}
      <h2>{say.tally}</h2>
      <p class="quiet">{say.votesCount(number(found.votes), number(found.voters))}</p>
      {found.ranking.length > 0 ? <Ranking ranking={found.ranking} /> : <p class="quiet">{whyNone(found)}</p>}
    </section>
  );
}

function whyNone({ minimum, fewest, connected }: Standings): string {
  const say = compared.value;
  return fewest < minimum || connected ? say.noRankingYet(number(minimum), number(fewest)) : say.notConnected;
}

function Ranking({ ranking }: { ranking: Ranked[] }) {
  const say = compared.value;
  const lowest = Math.min(...ranking.map(({ low }) => low));
  const span = Math.max(1, Math.max(...ranking.map(({ high }) => high)) - lowest);
  const share = (value: number) => (100 * (value - lowest)) / span;
  return (
    <>
      <div class="table-scroller">
        <table class="ranking">
          <caption class="quiet">{say.ranking}</caption>
          <thead>
            <tr>
              {[say.model, say.votes, say.rating, say.interval].map((each) => (
                <th key={each} scope="col">
                  {each}
                </th>
              ))}
              <td />
            </tr>
          </thead>
          <tbody>
            {ranking.map(({ label, votes, rating, low, high }) => (
              <tr key={label}>
                <th scope="row">{label}</th>
                <td>{number(votes)}</td>
                <td>{signed(rating, 0)}</td>
                <td>{say.from(signed(low, 0), signed(high, 0))}</td>
                <td>
                  <svg class="whisker" viewBox="0 0 104 16" aria-hidden="true" focusable="false">
                    <path d={`M${2 + share(low)} 8H${2 + share(high)}M${2 + share(low)} 4v8M${2 + share(high)} 4v8`} />
                    <circle cx={2 + share(rating)} cy="8" r="3.5" />
                  </svg>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="quiet">{say.rankingExplained}</p>
    </>
  );
}
