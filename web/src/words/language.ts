/** The page's language, and how numbers, sizes and times are written in it. */
import { signal } from "@preact/signals";

export const LANGUAGE_CODES = ["en", "fr"] as const;
export type LanguageCode = (typeof LANGUAGE_CODES)[number];

const isCode = (tag: string | null | undefined): tag is LanguageCode => LANGUAGE_CODES.some((each) => each === tag);

/** The one chosen, else the browser's first that we have, else English. */
export function preferredLanguage(chosen: string | null, browser: readonly string[]): LanguageCode {
  if (isCode(chosen)) return chosen;
  return browser.map((tag) => tag.slice(0, 2).toLowerCase()).find(isCode) ?? "en";
}

/** What was chosen in this browser. A document of its own, such as an exported page in a notebook's frame, has no memory. */
function chosenLanguage(): string | null {
  try {
    return localStorage.getItem("ouvert.language");
  } catch {
    return null;
  }
}

export const language = signal<LanguageCode>(preferredLanguage(chosenLanguage(), navigator.languages));

export const number = (value: number, digits = 0) =>
  new Intl.NumberFormat(language.value, { maximumFractionDigits: digits, signDisplay: "negative" }).format(value);
/** What is for or against something: with its sign, and always as many digits, so that columns stand still. */
export const signed = (value: number, digits = 2) =>
  new Intl.NumberFormat(language.value, { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "exceptZero" }).format(value);
/** 134.5 million as 135M. */
export const compact = (value: number) =>
  new Intl.NumberFormat(language.value, { notation: "compact", maximumSignificantDigits: 3 }).format(value);
export const percent = (share: number) =>
  new Intl.NumberFormat(language.value, { style: "percent", maximumFractionDigits: 0 }).format(share);

/** A share with three significant digits: 57.8 % and 0.0123 % are both readable. */
export const portion = (share: number) =>
  new Intl.NumberFormat(language.value, { style: "percent", maximumSignificantDigits: 3 }).format(share);

/** Three significant digits, so that 0.000072 s and 127 s are both readable. */
export const precise = (value: number) =>
  new Intl.NumberFormat(language.value, { maximumSignificantDigits: 3 }).format(value);

export function bytes(size: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const step = size < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(size) / 3));
  const value = size / 1000 ** step;
  return new Intl.NumberFormat(language.value, {
    style: "unit",
    unit: units[step] ?? "byte",
    maximumFractionDigits: value < 10 && step > 0 ? 1 : 0,
  }).format(value);
}

/** A length of time as one would say it: 4 s, 1 min 12 s. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${number(seconds, seconds < 9.95 ? 1 : 0)} s`;
  return `${number(Math.floor(whole / 60))} min ${number(whole % 60)} s`;
}

export const moment = (iso: string) =>
  new Intl.DateTimeFormat(language.value, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(iso));
