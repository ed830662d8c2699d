/** A token among words: in quotation marks of the page's language, white space made visible. */
import { visible } from "../figures/token-text";
import { language } from "../words/language";

export const quote = (text: string): string => (language.value === "fr" ? `«\u202f${visible(text)}\u202f»` : `“${visible(text)}”`);
