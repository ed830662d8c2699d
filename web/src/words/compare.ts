/** What is said where answers are compared. */
import { computed } from "@preact/signals";
import { compareEn, type CompareWords } from "./compare-en";
import { compareFr } from "./compare-fr";
import { language, type LanguageCode } from "./language";

export const COMPARE: Record<LanguageCode, CompareWords> = { en: compareEn, fr: compareFr };
export const compared = computed<CompareWords>(() => COMPARE[language.value]);
