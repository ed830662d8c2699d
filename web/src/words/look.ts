/** What is said where the inside of a model is shown: in the page, in a notebook and in an exported file. */
import { computed } from "@preact/signals";
import { language, type LanguageCode } from "./language";
import { lookEn, type LookWords } from "./look-en";
import { lookFr } from "./look-fr";

export const LOOK: Record<LanguageCode, LookWords> = { en: lookEn, fr: lookFr };
export const look = computed<LookWords>(() => LOOK[language.value]);
