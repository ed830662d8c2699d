/** Text as tokens, each shaded or underlined by a share, or tinted by what is for and against it: one stop for Tab, arrow keys from token to token. */
import { Fragment } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { cividis } from "./cividis";
import { moveInLine } from "./moves";

export interface ShownToken {
  text: string;
  said: string; // the token and its number, in words
  share: number | null; // 0 to 1; "balance": 0.5 is even; null: no number is known for it
  channel?: string | undefined; // which part of the answer it belongs to
  isBracket?: "from" | "to" | undefined; // a window begins or ends here
}

interface TokenTextProps {
  name: string;
  tokens: ShownToken[];
  drawn: "shade" | "underline" | "balance" | "plain";
  at: number | undefined; // the token that is selected
  onMove: (index: number) => void;
  onHover?: (index: number | undefined) => void;
}

export function TokenText({ name, tokens, drawn, at, onMove, onHover }: TokenTextProps) {
  const box = useRef<HTMLDivElement>(null);
  const isMoving = useRef(false);
  useLayoutEffect(() => {
    if (isMoving.current) box.current?.querySelector<HTMLElement>("[aria-selected=true]")?.focus();
    isMoving.current = false;
  }, [at]);
  const here = at ?? 0;
  const latest = useRef(here); // keys may come faster than what they lead to is drawn
  latest.current = here;
  return (
    <div
      ref={box}
      class={`token-text ${drawn}`}
      role="listbox"
      aria-label={name}
      aria-orientation="horizontal"
      onKeyDown={(event) => {
        const to = moveInLine(event, latest.current, tokens.length);
        if (to === undefined) return;
        event.preventDefault();
        isMoving.current = true;
        latest.current = to;
        onMove(to);
      }}
      onMouseLeave={() => onHover?.(undefined)}
    >
      {tokens.map((token, index) => (
        <Fragment key={index}>
          <span
            role="option"
            aria-label={token.said}
            aria-selected={index === at}
            tabindex={index === here ? 0 : -1}
            class={`token${token.channel ? ` channel-${token.channel}` : ""}${token.isBracket ? ` window-${token.isBracket}` : ""}`}
            style={styleOf(token, drawn)}
            onClick={() => onMove(index)}
            onFocus={() => index !== at && onMove(index)}
            onMouseEnter={() => onHover?.(index)}
          >
            {visible(token.text)}
          </span>
          {token.text.includes("\n") && <br />}
        </Fragment>
      ))}
    </div>
  );
}

/** White space that would not be seen is shown by a sign. */
export function visible(text: string): string {
  if (text === "") return "∅";
  const marked = text.replace(/\r?\n/g, "⏎").replace(/\t/g, "⇥");
  return /^\s+$/.test(marked) ? marked.replace(/\s/g, "␣") : marked;
}

function styleOf({ share }: ShownToken, drawn: TokenTextProps["drawn"]): Record<string, string> {
  if (share === null || drawn === "plain") return {};
  if (drawn === "balance") return tint(2 * share - 1);
  const { background, ink } = cividis(share);
  if (drawn === "shade") return { backgroundColor: background, color: ink };
  // The less likely, the thicker: it can be read without colours.
  return { borderBottomColor: background, borderBottomWidth: `${(1 + 4 * (1 - share)).toFixed(1)}px` };
}

/** From -1 to 1: two colours, and two kinds of line for who does not see them. */
function tint(balance: number): Record<string, string> {
  const [colour, line] = balance < 0 ? ["--against", "dotted"] : ["--for", "solid"];
  const strength = Math.min(1, Math.abs(balance));
  if (strength < 0.05) return {};
  return { backgroundColor: `color-mix(in srgb, var(${colour}) ${(100 * strength).toFixed(0)}%, transparent)`, borderBottom: `${(3 * strength).toFixed(1)}px ${line} currentColor` };
}
