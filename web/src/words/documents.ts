/** What is said of the owner's documents, and of answers from them. */
import { computed } from "@preact/signals";
import { documentsEn, type DocumentWords } from "./documents-en";
import { documentsFr } from "./documents-fr";
import { language, type LanguageCode } from "./language";

export const DOCUMENTS: Record<LanguageCode, DocumentWords> = { en: documentsEn, fr: documentsFr };
export const papers = computed<DocumentWords>(() => DOCUMENTS[language.value]);
