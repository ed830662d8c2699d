/** Every sentence of the page, in its language. */
import { computed } from "@preact/signals";
import { en, type Words } from "./en";
import { fr } from "./fr";
import { language, type LanguageCode } from "./language";

export * from "./language";

export const LANGUAGES: Record<LanguageCode, Words> = { en, fr };
export const words = computed<Words>(() => LANGUAGES[language.value]);
