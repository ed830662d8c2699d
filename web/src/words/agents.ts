/** What is said of agents and their runs. */
import { computed } from "@preact/signals";
import { agentsEn, type AgentWords } from "./agents-en";
import { agentsFr } from "./agents-fr";
import { language, type LanguageCode } from "./language";

export const AGENTS: Record<LanguageCode, AgentWords> = { en: agentsEn, fr: agentsFr };
export const acting = computed<AgentWords>(() => AGENTS[language.value]);
