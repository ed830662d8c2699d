import { memo } from "preact/compat";
import { useMemo, useRef } from "preact/hooks";
import { renderBlock, splitBlocks, type Block } from "../markdown";
import { panel } from "../state/view";
import { language, words } from "../words";
import { copyText } from "./clipboard";

/** A model's Markdown. As it grows, blocks that cannot change any more are left alone. */
export function AnswerText({ text, growing }: { text: string; growing: boolean }) {
  const before = useRef<{ text: string; blocks: Block[] }>({ text: "", blocks: [] });
  const blocks = useMemo(() => {
    const clean = text.replace(/\r\n?/g, "\n");
    const known = clean.startsWith(before.current.text) ? before.current.blocks : [];
    before.current = { text: clean, blocks: splitBlocks(clean, known) };
    return before.current.blocks;
  }, [text]);
  const definitions = blocks.filter((block) => block.isDefinition).map((block) => block.source).join("");
  return (
    <div class="prose" onClick={onClick}>
      {blocks.map((block, index) => (
        <BlockView
          key={index}
          source={block.source}
          definitions={block.source.includes("]") && !block.isDefinition ? definitions : ""}
          growing={growing && index === blocks.length - 1}
          language={language.value}
        />
      ))}
    </div>
  );
}

const BlockView = memo(function BlockView(props: { source: string; definitions: string; growing: boolean; language: string }) {
  const labels = { copy: words.value.copy, imageNotLoaded: words.value.imageNotLoaded };
  const html = renderBlock(props.source, labels, props.definitions, props.growing);
  return <div class="block" dangerouslySetInnerHTML={{ __html: html }} />;
});

/** Clicks on what renderBlock wrote: copy buttons, and links, which are asked about first. */
function onClick(event: MouseEvent): void {
  if (!(event.target instanceof Element)) return;
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
