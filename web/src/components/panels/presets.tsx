import { useState } from "preact/hooks";
import { applyPreset, deletePreset, savePreset } from "../../state/settings";
import { presets } from "../../state/stored";
import { words } from "../../words";
import { Button } from "../button";

const LONGEST_NAME = 60; // characters

/** Instructions, effort and numbers under a name. A click gives them to this conversation, and calls `onApply`. */
export function Presets({ onApply }: { onApply: () => void }) {
  const say = words.value;
  if (presets.value.length === 0) return null;
  return (
    <ul class="presets" aria-label={say.presets}>
      {presets.value.map((each) => (
        <li key={each.name} class="chip">
          <button
            type="button"
            class="plain"
            onClick={() => {
              applyPreset(each);
              onApply();
            }}
          >
            {each.name}
          </button>
          <Button icon="trash" class="danger" label={say.about(say.delete, each.name)} onClick={() => deletePreset(each.name)} />
        </li>
      ))}
    </ul>
  );
}

/** Stores what was set for this conversation under a name, for others. */
export function SavePreset() {
  const say = words.value;
  const [name, setName] = useState("");
  return (
    <div class="field">
      <form
        class="row-of-buttons keep-preset"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) savePreset(name.trim());
          setName("");
        }}
      >
        <input
          type="text"
          maxLength={LONGEST_NAME}
          aria-label={say.presetName}
          aria-describedby="presets-hint"
          placeholder={say.presetName}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <button type="submit" class="plain" disabled={!name.trim()}>
          {say.savePreset}
        </button>
      </form>
      <small id="presets-hint">{say.presetsHint}</small>
    </div>
  );
}
