/** Settings belong to a conversation. A new one begins with those used last. */
import { computed } from "@preact/signals";
import { instructions, type Settings } from "../conversation";
import { current } from "./open-conversations";
import { save } from "./saving";
import { mayUseDocuments } from "./session";
import { generalInstructions, presets, storeLastSettings, type Preset } from "./stored";

/** Of the conversation in view. */
export const settings = computed<Settings>(() => current.value.settings ?? {});
export const systemPrompt = computed(() => instructions(generalInstructions.value, settings.value.system));
/** The collections that the conversation in view asks; undefined: none. */
export const askedDocuments = computed(() => (mayUseDocuments.value && settings.value.documents?.length ? settings.value.documents : undefined));
export const leavesOutOldest = computed(() => settings.value.truncation === "auto");

export function changeSettings(change: Settings): void {
  replaceSettings({ ...settings.value, ...change });
}

function replaceSettings(changed: Settings): void {
  current.value = { ...current.value, settings: changed };
  storeLastSettings(changed);
  if (current.value.messages.length > 0) void save(current.value.id);
}

/** Whether this conversation asks that collection. */
export function askDocuments(name: string, isWanted: boolean): void {
  const others = (settings.value.documents ?? []).filter((each) => each !== name);
  changeSettings({ documents: isWanted ? [...others, name].sort() : others });
}

/** From here on the oldest turns of this conversation are left out when the context is full; every receipt says it. */
export function leaveOutOldest(isWanted: boolean): void {
  const { truncation: _, ...others } = settings.value;
  replaceSettings(isWanted ? { ...others, truncation: "auto" } : others);
}

/** Store the settings of the conversation in view under a name. An older preset of that name is replaced. */
export function savePreset(name: string): void {
  const { system, effort, sampling } = settings.value;
  const preset: Preset = { name, settings: { ...(system ? { system } : {}), ...(effort ? { effort } : {}), ...(sampling ? { sampling } : {}) } };
  presets.value = [...presets.value.filter((each) => each.name !== name), preset].sort((a, b) => a.name.localeCompare(b.name));
}

/** What a preset does not have, the conversation does not have afterwards. */
export function applyPreset({ settings: chosen }: Preset): void {
  const { system: _, effort: __, sampling: ___, ...others } = settings.value;
  replaceSettings({ ...others, ...chosen });
}

export function deletePreset(name: string): void {
  presets.value = presets.value.filter((each) => each.name !== name);
}
