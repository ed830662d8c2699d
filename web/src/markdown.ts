/**
 * Markdown of a model, made safe in three independent ways: raw HTML is shown as text and never becomes markup; what
 * marked writes goes through DOMPurify with a short list of tags; and the page's Content-Security-Policy forbids the rest.
 *
 * While an answer grows, only its last blocks are parsed again.
 */
import DOMPurify from "dompurify";
import { Lexer, Marked, type TokenizerAndRendererExtension, type Tokens } from "marked";
import { CHIP, CHIP_END, NOWHERE } from "./citations";
import { escapeHtml } from "./escape";
import { highlighted } from "./highlight";

export interface Block {
  source: string;
  isDefinition: boolean; // [name]: address; shows nothing, but other blocks may refer to it
}

/** Later text can still change the last few blocks: a rule becomes bold text, a paragraph becomes a table. */
const UNSETTLED = 4;

/** The blocks of `text`. `before`: the blocks of an earlier, shorter text; those that are settled are not parsed again. */
export function splitBlocks(text: string, before: Block[] = []): Block[] {
  const settled = before.slice(0, Math.max(0, before.length - UNSETTLED));
  const length = settled.reduce((sum, block) => sum + block.source.length, 0);
  const fresh = new Lexer({ gfm: true }).blockTokens(text.slice(length), []);
  return [...settled, ...fresh.map((token) => ({ source: token.raw, isDefinition: token.type === "def" }))];
}

export interface Labels {
  copy: string;
  imageNotLoaded: string;
}

/** What a chip shows, and the place that it leads to, in words. */
export interface Chip {
  mark: string;
  title: string;
}

/** Of an answer from documents: one chip for each citation, and what a mark that leads nowhere becomes. */
export interface Chips {
  cited: Chip[];
  source: string; // said before the mark to who does not see that it is a chip
  nowhere: Chip;
}

const SIGN = new RegExp(`^${CHIP}(\\d+|${NOWHERE})${CHIP_END}`);
// What marked writes in place of a sign; text that it does not read as Markdown (code, addresses) keeps the sign itself.
const [READ, READ_END] = ["\ue002", "\ue003"];
const ANY_SIGN = new RegExp(`([${CHIP}${READ}])(\\d+|${NOWHERE})[${CHIP_END}${READ_END}]`, "g");

const citation: TokenizerAndRendererExtension = {
  name: "citation",
  level: "inline",
  start: (source) => source.indexOf(CHIP),
  tokenizer(source) {
    const found = SIGN.exec(source);
    return found ? { type: "citation", raw: found[0], sign: found[1] } : undefined;
  },
  renderer: ({ sign }) => `${READ}${sign as string}${READ_END}`,
};

function withButtons(html: string, { cited, source, nowhere }: Chips): string {
  return html.replace(ANY_SIGN, (_, kind: string, sign: string) => {
    const chip = sign === NOWHERE ? nowhere : cited[Number(sign)];
    if (!chip) return "";
    const [mark, title] = [escapeHtml(chip.mark), escapeHtml(chip.title)];
    if (kind === CHIP) return `[${mark}]`;
    if (chip === nowhere) return `<span class="unsupported" title="${title}">${mark}</span>`;
    return `<button type="button" class="cite cite-${sign}" title="${title}"><span class="off-screen">${escapeHtml(source)} </span>${mark}</button>`;
  });
}

const SAFE_LINK = /^(https?|mailto):/i;

/** A longer block of code is coloured only once it is complete. */
const COLOURED_WHILE_GROWING = 4000;

function makeRenderer(labels: Labels, growing: boolean): Marked {
  return new Marked({
    gfm: true,
    extensions: [citation],
    renderer: {
      html: ({ text }: Tokens.HTML | Tokens.Tag) => escapeHtml(text),
      image: ({ href, text }: Tokens.Image) =>
        `<span class="image-not-loaded">${escapeHtml(text || labels.imageNotLoaded)} <span>${escapeHtml(`${labels.imageNotLoaded}: ${href}`)}</span></span>`,
      link({ href, tokens }: Tokens.Link) {
        const text = this.parser.parseInline(tokens);
        if (!SAFE_LINK.test(href)) return `${text} <span class="not-a-link">${escapeHtml(href)}</span>`;
        return `<a href="${escapeHtml(href)}" title="${escapeHtml(href)}" rel="noopener noreferrer nofollow" target="_blank">${text}</a>`;
      },
      checkbox: ({ checked }: Tokens.Checkbox) => (checked ? "☑ " : "☐ "),
      code({ text, lang }: Tokens.Code) {
        const language = /^[\w+#.-]{1,30}/.exec(lang ?? "")?.[0] ?? "";
        const code = growing && text.length > COLOURED_WHILE_GROWING ? escapeHtml(text) : highlighted(text, language);
        return (
          `<div class="code"><div class="code-head"><span>${escapeHtml(language)}</span>` +
          `<button type="button" class="copy-code">${escapeHtml(labels.copy)}</button></div>` +
          `<pre tabindex="0"><code>${code}</code></pre></div>`
        );
      },
      table(token: Tokens.Table) {
        const cell = (each: Tokens.TableCell, tag: string) =>
          `<${tag}${each.align ? ` align="${each.align}"` : ""}>${this.parser.parseInline(each.tokens)}</${tag}>`;
        const row = (cells: Tokens.TableCell[], tag: string) => `<tr>${cells.map((each) => cell(each, tag)).join("")}</tr>`;
        return `<div class="table" tabindex="0"><table><thead>${row(token.header, "th")}</thead><tbody>${token.rows
          .map((cells) => row(cells, "td"))
          .join("")}</tbody></table></div>`;
      },
    },
  });
}

const renderers = new Map<string, Marked>();

function renderer(labels: Labels, growing: boolean): Marked {
  const name = JSON.stringify([labels, growing]);
  const known = renderers.get(name) ?? makeRenderer(labels, growing);
  renderers.set(name, known);
  return known;
}

const ALLOWED_TAGS =
  "a b blockquote br button code del div em h1 h2 h3 h4 h5 h6 hr i li ol p pre s span strong sub sup table tbody td th thead tr ul".split(" ");
const ALLOWED_ATTR = ["align", "class", "href", "rel", "start", "tabindex", "target", "title", "type"];

// One object for every call: DOMPurify reads a configuration again only if it is another one.
const SANITISED = {
  ALLOWED_TAGS,
  ALLOWED_ATTR,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: SAFE_LINK, // href is the only address that is allowed at all
  ADD_URI_SAFE_ATTR: ALLOWED_ATTR.filter((name) => name !== "href"),
  RETURN_TRUSTED_TYPE: true,
};

/** Sanitised HTML of one block. `definitions` are the sources of the answer's link definitions; `chips` what the signs
 * of citations in it become. */
export function renderBlock(source: string, labels: Labels, definitions = "", growing = false, chips?: Chips): string {
  const read = renderer(labels, growing).parse(definitions + source, { async: false });
  const html = chips ? withButtons(read, chips) : read;
  // A TrustedHTML where the browser has such values; Preact hands it on unchanged.
  return DOMPurify.sanitize(html, SANITISED) as unknown as string;
}
