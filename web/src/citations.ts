/** Citations of an answer: what a server's annotation says, where its mark stands, and how marks become chips. */

/** `mark` stands at `first` to `last` of the answer's text and leads to characters `start` to `stop` of a document. */
export interface Citation {
  mark: string;
  first: number;
  last: number;
  collection: string;
  document: string;
  name: string;
  page: number;
  paged: boolean;
  start: number;
  stop: number;
}

/** An annotation of Chat Completions. Its places in the answer count Unicode scalar values, as Python does. */
export interface UrlCitation {
  start_index: number;
  end_index: number;
  title: string;
  url: string;
}

/** As the record of a run has it. */
export interface Place {
  mark: string;
  start_index: number;
  end_index: number;
  collection: string;
  document: string;
  name: string;
  page: number;
  paged: boolean;
  start: number;
  stop: number;
}

const ADDRESS = /\/ouvert\/documents\/([^/]+)\/([0-9a-f]+)#page=(\d+)&chars=(\d+)-(\d+)$/;
const PAGE = /, page \d+$/;

/** Null for an annotation that is of no document of this server. `text`: the answer up to the mark, at least. */
export function citationOf({ start_index, end_index, title, url }: UrlCitation, text: string): Citation | null {
  const [, collection, document, page, start, stop] = ADDRESS.exec(url) ?? [];
  if (!collection || !document) return null;
  const place = { collection: decodeURIComponent(collection), document, name: title.replace(PAGE, ""), page: Number(page), paged: PAGE.test(title) };
  return placed({ mark: "", start_index, end_index, ...place, start: Number(start), stop: Number(stop) }, text);
}

export function placed({ start_index, end_index, ...place }: Place, text: string): Citation {
  const [first, last] = [unitsOf(text, start_index), unitsOf(text, end_index)];
  return { ...place, mark: text.slice(first, last).replace(/^\[|\]$/g, ""), first, last };
}

/** How many UTF-16 code units so many characters of a text are. */
function unitsOf(text: string, characters: number): number {
  let at = 0;
  for (let n = 0; n < characters && at < text.length; n += 1) at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
  return at;
}

export const UNSUPPORTED = "[unsupported]";
// Of Unicode's private use: what a model writes of these is replaced, so that none of its text becomes a chip.
export const [CHIP, CHIP_END] = ["\ue000", "\ue001"];
export const NOWHERE = "u";
const OURS = /[\ue000-\ue003]/g;

/** The text with a sign in place of each mark, which markdown.ts makes a chip of. Marks that lead nowhere get one too. */
export function withChips(text: string, citations: readonly Citation[]): string {
  const marks = citations.map(({ first, last }, n) => ({ first, last, sign: String(n) })).sort((a, b) => a.first - b.first);
  let out = "";
  let at = 0;
  for (const { first, last, sign } of marks) {
    if (first < at || last > text.length) continue; // of a text that was cut off before it
    out += `${plain(text.slice(at, first))}${CHIP}${sign}${CHIP_END}`;
    at = last;
  }
  return out + plain(text.slice(at));
}

const plain = (text: string) => text.replace(OURS, "\ufffd").replaceAll(UNSUPPORTED, `${CHIP}${NOWHERE}${CHIP_END}`);

const keyOf = ({ collection, document, start, stop }: Citation) => `${collection}/${document}/${start}-${stop}`;

/** Each place once, in the order in which it is cited. */
export function distinct(citations: readonly Citation[]): Citation[] {
  return [...new Map([...citations].reverse().map((each) => [keyOf(each), each])).values()].reverse();
}
