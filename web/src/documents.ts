/** Text files and long pastes: read as text or refused, and cut to what a model can hold. */
import type { Attachment } from "./conversation";

export const LARGEST_FILE = 8_000_000; // bytes: some two million tokens, more than any model here holds
export const LONG_PASTE = 4000; // characters; a longer paste becomes a document

/** The text of a file, or null if its bytes are neither UTF-8 nor marked UTF-16. */
export function decodeText(bytes: Uint8Array): string | null {
  const mark = `${bytes[0]},${bytes[1]}`;
  const encoding = mark === "255,254" ? "utf-16le" : mark === "254,255" ? "utf-16be" : "utf-8";
  try {
    const text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
    return text.includes("\0") ? null : text.replace(/\r\n?/g, "\n");
  } catch {
    return null;
  }
}

/** The first `length` characters, never half of one. */
export function beginning(text: string, length: number): string {
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}

/**
 * The longest beginning of `document` with which `count` says that everything fits, or null if nothing of it does.
 * `count` is asked about twice the logarithm of the length at most; it need not be exactly monotonic.
 */
export async function longestThatFits(
  document: Attachment,
  fits: (shortened: Attachment) => Promise<boolean>,
): Promise<Attachment | null> {
  let low = 0;
  let high = document.text.length;
  const cut = (length: number): Attachment => ({ ...document, text: beginning(document.text, length) });
  while (high - low > Math.max(1, document.text.length / 2000)) {
    const middle = (low + high) >> 1;
    if (await fits(cut(middle))) low = middle;
    else high = middle;
  }
  return low === 0 ? null : cut(low);
}
