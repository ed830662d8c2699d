/** The tokens of a trace, message by message, channels told apart, one token selected. */
import { TokenText, type ShownToken } from "../figures/token-text";
import { look } from "../words/look";
import type { TracedToken } from "../trace";

interface ConversationProps {
  tokens: TracedToken[];
  shown: ShownToken[]; // one for each token
  drawn: "shade" | "underline" | "plain";
  at: number | undefined;
  onMove: (place: number) => void;
}

/** Neighbouring tokens of one message, and of one part. */
export function groupsOf(tokens: TracedToken[]): TracedToken[][] {
  const groups: TracedToken[][] = [];
  for (const token of tokens) {
    const last = groups.at(-1)?.at(-1);
    if (last && last.message === token.message && last.part === token.part) groups.at(-1)?.push(token);
    else groups.push([token]);
  }
  return groups;
}

export function Conversation({ tokens, shown, drawn, at, onMove }: ConversationProps) {
  const say = look.value;
  const first = tokens[0]?.place ?? 0;
  return (
    <section class="traced" aria-label={say.tokens}>
      {groupsOf(tokens).map((group) => {
        const start = (group[0]?.place ?? 0) - first;
        const name = nameOf(group);
        const inside = at === undefined ? -1 : at - first - start;
        const channels = [...new Set(group.map((each) => each.channel).filter((each) => each !== null))];
        return (
          <div key={start} class="traced-group">
            <h3>
              {name}
              {channels.length > 1 && <small> {channels.map((each) => `${look.value.channels[each] ?? each}`).join(" · ")}</small>}
            </h3>
            <TokenText
              name={name}
              tokens={shown.slice(start, start + group.length)}
              drawn={drawn}
              at={inside >= 0 && inside < group.length ? inside : undefined}
              onMove={(index) => onMove(first + start + index)}
            />
          </div>
        );
      })}
    </section>
  );
}

export function nameOf(group: TracedToken[]): string {
  const say = look.value;
  const [token] = group;
  if (token?.part === "answer") return say.theAnswer;
  if (token?.part === "text") return say.theText;
  return token?.message === null || token?.message === undefined ? say.theFormat : say.theMessage(String(token.message + 1));
}
