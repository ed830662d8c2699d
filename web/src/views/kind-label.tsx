/** What a view may claim: that something was seen, or that it was changed and what came of it. */
import type { How, Kind } from "../trace";
import { look } from "../words/look";

export function KindLabel({ kind }: { kind: Kind }) {
  const say = look.value;
  return (
    <p class={`kind ${kind}`}>
      <strong>{say.kinds[kind]}</strong> {say.kindsExplained[kind]}
    </p>
  );
}

/** How a view is computed, down to the lines of the graph that serves. */
export function HowComputed({ how }: { how: How }) {
  const say = look.value;
  return (
    <details class="how">
      <summary>{say.how}</summary>
      <p lang="en">{how.says}</p>
      {how.lines.map((each) => (
        <figure key={`${each.file}:${each.first}`} class="source">
          <figcaption>{say.linesOf(each.file, each.first, each.last)}</figcaption>
          <pre tabindex={0}>{each.text}</pre>
        </figure>
      ))}
    </details>
  );
}
