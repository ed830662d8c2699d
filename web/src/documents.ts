/** Text files and long pastes: read as text or refused, and cut to what a model can hold. */
import type { Attachment } from "./conversation";

const STEPS = 2000; // how finely a document is cut
export const LARGEST_FILE = 8_000_000; // bytes: some two million tokens, more than any model here holds
export const LONG_PASTE = 4000; // characters; a longer paste becomes a document

/** `isGuess`: the bytes may be of this encoding, but nothing in them shows that they are. */
export interface Decoded {
  text: string;
  isGuess: boolean;
}

/**
 * The text of a file: UTF-8, marked UTF-16, or else Windows-1252, in which spreadsheets and older programs of western
 * Europe write. Null for bytes that are no text in any of these (control characters, codes without a meaning).
 */
export function decodeText(bytes: Uint8Array): Decoded | null {
  const mark = `${bytes[0]},${bytes[1]}`;
  const encoding = mark === "255,254" ? "utf-16le" : mark === "254,255" ? "utf-16be" : "utf-8";
  const text = decoded(bytes, encoding);
  if (text !== null) return text.includes("\0") ? null : { text: withPlainBreaks(text), isGuess: false };
  if (encoding !== "utf-8" || bytes.some((byte) => NO_TEXT.has(byte))) return null;
  return { text: withPlainBreaks(new TextDecoder("windows-1252").decode(bytes)), isGuess: true };
}

// Control characters except tab, line feed, form feed and carriage return; and what Windows-1252 leaves undefined.
const NO_TEXT = new Set([...Array.from({ length: 32 }, (_, code) => code).filter((code) => ![9, 10, 12, 13].includes(code)), 127, 0x81, 0x8d, 0x8f, 0x90, 0x9d]);

const withPlainBreaks = (text: string) => text.replace(/\r\n?/g, "\n");

function decoded(bytes: Uint8Array, encoding: string): string | null {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

const startsWith = (bytes: Uint8Array, ...start: number[]) => start.every((byte, n) => bytes[n] === byte);
const OFFICE = /\.(docx?|dotx?|xlsx?|xlsm|pptx?|odt|ods|odp|pages|numbers|key)$/i;

/** PDF or an office format, by the content, else by the name: formats that a later version will read. */
export function comingFormat(bytes: Uint8Array, name: string): string | null {
  if (startsWith(bytes, 0x25, 0x50, 0x44, 0x46)) return "PDF"; // %PDF
  const ending = OFFICE.exec(name)?.[1]?.toUpperCase();
  const isZip = startsWith(bytes, 0x50, 0x4b, 3, 4);
  const isOld = startsWith(bytes, 0xd0, 0xcf, 0x11, 0xe0); // Office before 2007
  if (!isZip && !isOld) return null;
  return ending ?? (isOld ? "Office" : null);
}

/** The first `length` characters, never half of one. */
export function beginning(text: string, length: number): string {
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}

/**
 * The longest beginning of `document` that `fits`, within a two-thousandth of its length, or null if nothing of it does.
 * `fits` is called eleven times at most. It need not be exactly monotonic.
 */
export async function longestThatFits(
  document: Attachment,
  fits: (shortened: Attachment) => Promise<boolean>,
): Promise<Attachment | null> {
  let low = 0;
  let high = document.text.length;
  const cut = (length: number): Attachment => ({ ...document, text: beginning(document.text, length) });
  while (high - low > Math.max(1, document.text.length / STEPS)) {
    const middle = (low + high) >> 1;
    if (await fits(cut(middle))) low = middle;
    else high = middle;
  }
  return low === 0 ? null : cut(low);
}
