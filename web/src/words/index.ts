/** The page's language: the one chosen, else the browser's first that we have, else English. */
import { computed, signal } from "@preact/signals";
import { en, type Words } from "./en";
import { fr } from "./fr";

export const LANGUAGES: Record<string, Words> = { en, fr };

export function preferredLanguage(chosen: string | null, browser: readonly string[]): string {
  if (chosen && chosen in LANGUAGES) return chosen;
  return browser.map((tag) => tag.slice(0, 2).toLowerCase()).find((tag) => tag in LANGUAGES) ?? "en";
}

export const language = signal(preferredLanguage(localStorage.getItem("ouvert.language"), navigator.languages));
export const words = computed<Words>(() => LANGUAGES[language.value] ?? en);

export const number = (value: number, digits = 0) =>
  new Intl.NumberFormat(language.value, { maximumFractionDigits: digits }).format(value);
/** 134.5 million as 135M. */
export const compact = (value: number) =>
  new Intl.NumberFormat(language.value, { notation: "compact", maximumSignificantDigits: 3 }).format(value);
export const percent = (share: number) =>
  new Intl.NumberFormat(language.value, { style: "percent", maximumFractionDigits: 0 }).format(share);

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
