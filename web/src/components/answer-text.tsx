import { memo } from "preact/compat";
import { useMemo, useRef } from "preact/hooks";
import { withChips, type Citation } from "../citations";
import { renderBlock, splitBlocks, type Block, type Chips } from "../markdown";
import { panel } from "../state/view";
import { number, language, words } from "../words";
import { papers } from "../words/documents";
import { copyText } from "./clipboard";

interface AnswerTextProps {
  text: string;
  growing: boolean;
  citations?: readonly Citation[] | undefined; // of an answer from documents, even if it has none
}

/** A model's Markdown. As it grows, blocks that cannot change any more are left alone. Citations are chips in it. */
export function AnswerText({ text: written, growing, citations }: AnswerTextProps) {
  const text = citations ? withChips(written, citations) : written;
  const chips = useMemo(() => citations && chipsOf(citations), [citations, language.value]);
  const before = useRef<{ text: string; blocks: Block[] }>({ text: "", blocks: [] });
  const blocks = useMemo(() => {
    const clean = text.replace(/\r\n?/g, "\n");
    const known = clean.startsWith(before.current.text) ? before.current.blocks : [];
    before.current = { text: clean, blocks: splitBlocks(clean, known) };
    return before.current.blocks;
  }, [text]);
  const definitions = blocks.filter((block) => block.isDefinition).map((block) => block.source).join("");
  return (
    <div class="prose" onClick={(event) => onClick(event, citations)}>
      {blocks.map((block, index) => (
        <BlockView
          key={index}
          source={block.source}
          definitions={block.source.includes("]") && !block.isDefinition ? definitions : ""}
          growing={growing && index === blocks.length - 1}
          language={language.value}
          chips={chips}
        />
      ))}
    </div>
  );
}

const BlockView = memo(function BlockView(props: { source: string; definitions: string; growing: boolean; language: string; chips: Chips | undefined }) {
  const labels = { copy: words.value.copy, imageNotLoaded: words.value.imageNotLoaded };
  const html = renderBlock(props.source, labels, props.definitions, props.growing, props.chips);
  return <div class="block" dangerouslySetInnerHTML={{ __html: html }} />;
});

function chipsOf(citations: readonly Citation[]): Chips {
  const say = papers.value;
  return {
    cited: citations.map((each) => ({ mark: each.mark, title: placeInWords(each) })),
    source: say.source,
    nowhere: { mark: say.unsupported, title: say.unsupportedHint },
  };
}

export const placeInWords = ({ name, page, paged }: Citation): string => (paged ? papers.value.placeOf(name, number(page)) : name);

/** Clicks on what renderBlock wrote: citations, copy buttons, and links, which are asked about first. */
function onClick(event: MouseEvent, citations: readonly Citation[] = []): void {
  if (!(event.target instanceof Element)) return;
  const place = citations[Number(/\bcite-(\d+)/.exec(event.target.closest(".cite")?.className ?? "")?.[1])];
  if (place) panel.value = { kind: "place", place };
  const button = event.target.closest<HTMLButtonElement>(".copy-code");
  if (button) {
    void copyText(button.closest(".code")?.querySelector("code")?.textContent ?? "").then((said) => {
      button.textContent = said;
      setTimeout(() => (button.textContent = words.value.copy), 1500);
    });
  }
  const link = event.target.closest<HTMLAnchorElement>("a[href]");
  if (link) {
    event.preventDefault();
    panel.value = { kind: "link", href: link.href };
  }
}
