/** What this browser stores between visits. Conversations are not among it: the server stores them. */
import { effect, signal } from "@preact/signals";
import type { Settings } from "../conversation";

const SETTINGS = "ouvert.settings";
const INSTRUCTIONS = "ouvert.instructions";
const PRESETS = "ouvert.presets";
const TITLES = "ouvert.titles";
const WATCHING = "ouvert.watching";
const THEME = "ouvert.theme";

/** The settings that were used last. A new conversation begins with them. */
export function lastSettings(): Settings {
  try {
    return JSON.parse(localStorage.getItem(SETTINGS) ?? "{}") as Settings;
  } catch {
    return {}; // written by hand or by another version: defaults are right
  }
}

/** The system prompt, the truncation and the documents belong to one conversation and are left out. */
export function storeLastSettings({ system: _, truncation: __, documents: ___, ...lasting }: Settings): void {
  localStorage.setItem(SETTINGS, JSON.stringify(lasting));
}

/** Instructions that every conversation begins with. */
export const generalInstructions = signal(localStorage.getItem(INSTRUCTIONS) ?? "");
effect(() => localStorage.setItem(INSTRUCTIONS, generalInstructions.value));

/** Instructions, effort and sampling under a name, for any conversation. */
export interface Preset {
  name: string;
  settings: Pick<Settings, "system" | "effort" | "sampling">;
}

function storedPresets(): Preset[] {
  try {
    const stored = JSON.parse(localStorage.getItem(PRESETS) ?? "[]") as unknown;
    return Array.isArray(stored) ? (stored as Preset[]).filter((each) => typeof each?.name === "string" && typeof each.settings === "object") : [];
  } catch {
    return []; // written by hand or by another version
  }
}

export const presets = signal<Preset[]>(storedPresets());
effect(() => localStorage.setItem(PRESETS, JSON.stringify(presets.value)));

/** Whether models give titles to conversations. */
export const titlesByModel = signal(localStorage.getItem(TITLES) !== "off");
effect(() => localStorage.setItem(TITLES, titlesByModel.value ? "on" : "off"));

/** Whether answers are watched while they are written; and by the name of a model, the direction that is its probe. */
export interface WatchingChoice {
  isOn: boolean;
  probes: Readonly<Record<string, string>>;
}

function storedWatching(): WatchingChoice {
  try {
    const { isOn, probes } = JSON.parse(localStorage.getItem(WATCHING) ?? "{}") as Partial<WatchingChoice>;
    const named = Object.entries(probes ?? {}).filter(([, name]) => typeof name === "string");
    return { isOn: isOn === true, probes: Object.fromEntries(named) };
  } catch {
    return { isOn: false, probes: {} }; // written by hand or by another version
  }
}

export const watching = signal<WatchingChoice>(storedWatching());
effect(() => localStorage.setItem(WATCHING, JSON.stringify(watching.value)));

export type Theme = "system" | "light" | "dark";
export const theme = signal<Theme>((localStorage.getItem(THEME) as Theme | null) ?? "system");
effect(() => {
  localStorage.setItem(THEME, theme.value);
  document.documentElement.dataset.theme = theme.value;
});

// Another window of this browser changed them.
addEventListener("storage", ({ key: name, newValue }) => {
  if (name === INSTRUCTIONS) generalInstructions.value = newValue ?? "";
  if (name === PRESETS) presets.value = storedPresets();
  if (name === WATCHING) watching.value = storedWatching();
  if (name === TITLES) titlesByModel.value = newValue !== "off";
});

/** The label of a reader who votes on answers; gone with the tab, for machines that several people use. */
export const voter = signal(sessionStorage.getItem("ouvert.voter") ?? "");
effect(() => sessionStorage.setItem("ouvert.voter", voter.value));
