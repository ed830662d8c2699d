import { useState } from "preact/hooks";
import { changeSettings, settings } from "../../state/settings";
import { generalInstructions, theme, titlesByModel, type Theme } from "../../state/stored";
import { closePanel } from "../../state/view";
import { LANGUAGES, language, preferredLanguage, words } from "../../words";
import { Choices } from "./choices";
import { Presets, SavePreset } from "./presets";
import { SamplingFields } from "./sampling-fields";
import { Sheet } from "./sheet";
import { StoredData } from "./stored-data";
import { Watching } from "./watching";

export function SettingsPanel() {
  return (
    <Sheet title={words.value.settings} onClose={closePanel}>
      <AllConversations />
      <ThisConversation />
      <Watching />
      <Appearance />
      <Language />
      <StoredData />
    </Sheet>
  );
}

function AllConversations() {
  const say = words.value;
  return (
    <section>
      <h3>{say.allConversations}</h3>
      <div class="field">
        <label for="instructions">{say.systemPrompt}</label>
        <textarea
          id="instructions"
          rows={3}
          data-first
          value={generalInstructions.value}
          aria-describedby="instructions-hint"
          onInput={(event) => (generalInstructions.value = event.currentTarget.value)}
        />
        <small id="instructions-hint">{say.instructionsHint}</small>
      </div>
      <label class="check">
        <input type="checkbox" checked={titlesByModel.value} onChange={(event) => (titlesByModel.value = event.currentTarget.checked)} />
        <span>{say.titlesByModel}</span>
      </label>
    </section>
  );
}

function ThisConversation() {
  const say = words.value;
  const [replaced, setReplaced] = useState(0); // how often all numbers were: the fields are then made anew
  const showReplaced = () => setReplaced(replaced + 1);
  return (
    <section>
      <h3>{say.thisConversation}</h3>
      <Presets onApply={showReplaced} />
      <SystemPrompt />
      <SamplingFields key={replaced} />
      <div class="row-of-buttons between">
        <small>{say.samplingHint}</small>
        <button
          type="button"
          class="plain"
          onClick={() => {
            changeSettings({ sampling: {} });
            showReplaced();
          }}
        >
          {say.reset}
        </button>
      </div>
      <SavePreset />
    </section>
  );
}

function SystemPrompt() {
  const say = words.value;
  return (
    <div class="field">
      <label for="system-prompt">{say.systemPrompt}</label>
      <textarea
        id="system-prompt"
        rows={4}
        value={settings.value.system ?? ""}
        aria-describedby="system-prompt-hint"
        onInput={(event) => changeSettings({ system: event.currentTarget.value })}
      />
      <small id="system-prompt-hint">{say.systemPromptHint}</small>
    </div>
  );
}

function Appearance() {
  const say = words.value;
  return (
    <section>
      <h3>{say.appearance}</h3>
      <Choices<Theme>
        name="theme"
        label={say.appearance}
        choices={[["system", say.system], ["light", say.light], ["dark", say.dark]]}
        value={theme.value}
        choose={(value) => (theme.value = value)}
      />
    </section>
  );
}

function Language() {
  const say = words.value;
  return (
    <section>
      <h3>{say.languageLabel}</h3>
      <Choices
        name="language"
        label={say.languageLabel}
        choices={Object.entries(LANGUAGES).map(([code, { language: name }]) => [code, name])}
        value={language.value}
        choose={(value) => (language.value = preferredLanguage(value, []))}
      />
    </section>
  );
}
