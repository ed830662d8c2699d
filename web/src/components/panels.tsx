import { useEffect, useState } from "preact/hooks";
import type { Sampling } from "../conversation";
import { exportConversations, importConversations, isExport, key, type ModelRecord } from "../server";
import {
  begin, changeSettings, complain, focusComposer, forgetPreset, general, host, keepPreset, keyWanted, model, models, notice, panel, presets, refreshList, refreshModels,
  remove, removeAll, rename, settings, theme, titles, usePreset, where, type Theme,
} from "../state";
import { bytes, compact, LANGUAGES, language, number, percent, words } from "../words";
import { download } from "./copy";
import { Button, Icon } from "./icons";
import { ReceiptPanel } from "./receipt-panel";
import { Sheet } from "./sheet";

const close = () => {
  panel.value = null;
};

export function Panels() {
  if (keyWanted.value) return <KeyPanel />;
  const shown = panel.value;
  switch (shown?.kind) {
    case undefined:
      return null;
    case "settings":
      return <SettingsPanel />;
    case "shortcuts":
      return <ShortcutsPanel />;
    case "models":
      return <ModelsPanel />;
    case "receipt":
      return <ReceiptPanel message={shown.message} />;
    case "rename":
      return <RenamePanel id={shown.id} title={shown.title} />;
    case "delete":
      return (
        <Question
          title={words.value.deleteQuestion}
          text={words.value.deleteExplained}
          detail={shown.title}
          yes={words.value.delete}
          act={() => remove(shown.id)}
          isFinal
        />
      );
    case "delete-all":
      return (
        <Question title={words.value.deleteAllQuestion} text={words.value.deleteAllExplained} yes={words.value.deleteAll} act={removeAll} isFinal />
      );
    case "link":
      return (
        <Question
          title={words.value.linkQuestion}
          text={words.value.linkExplained}
          detail={shown.href}
          yes={words.value.open}
          act={() => void window.open(shown.href, "_blank", "noopener,noreferrer")}
        />
      );
  }
}

/** `isFinal`: it cannot be undone, so the button looks it, and Enter alone does not do it. */
function Question(props: { title: string; text: string; detail?: string; yes: string; act: () => void; isFinal?: boolean }) {
  return (
    <Sheet title={props.title} place="centre" onClose={close}>
      <p>{props.text}</p>
      {props.detail && <p class="address">{props.detail}</p>}
      <div class="row-of-buttons end">
        <button type="button" class="plain" onClick={close} data-first={props.isFinal}>
          {words.value.cancel}
        </button>
        <button
          type="button"
          class={props.isFinal ? "primary final" : "primary"}
          data-first={!props.isFinal}
          onClick={() => {
            close();
            props.act();
          }}
        >
          {props.yes}
        </button>
      </div>
    </Sheet>
  );
}

function RenamePanel({ id, title }: { id: string; title: string }) {
  const say = words.value;
  const [text, setText] = useState(title);
  return (
    <Sheet title={say.rename} place="centre" onClose={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          close();
          void rename(id, text);
        }}
      >
        <label class="field">
          <span>{say.title}</span>
          <input type="text" value={text} maxLength={200} data-first onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <div class="row-of-buttons end">
          <button type="button" class="plain" onClick={close}>
            {say.cancel}
          </button>
          <button type="submit" class="primary">
            {say.save}
          </button>
        </div>
      </form>
    </Sheet>
  );
}

function KeyPanel() {
  const say = words.value;
  const [text, setText] = useState("");
  return (
    <Sheet title={say.keyTitle} place="centre" onClose={() => (keyWanted.value = false)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          key.set(text.trim());
          keyWanted.value = false;
          void begin();
        }}
      >
        <p>{key.get() ? say.keyWrong : say.keyHint}</p>
        <label class="field">
          <span>{say.keyLabel}</span>
          <input type="password" autocomplete="off" value={text} data-first onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <div class="row-of-buttons end">
          <button type="submit" class="primary">
            {say.save}
          </button>
        </div>
      </form>
    </Sheet>
  );
}

function ModelsPanel() {
  const say = words.value;
  useEffect(() => void refreshModels(), []); // one may have been fetched in a terminal meanwhile
  return (
    <Sheet title={say.chooseModel} place="centre" onClose={close}>
      {models.value?.length === 0 && <p>{`${say.noModels} ${say.noModelsHint}`}</p>}
      <fieldset class="models">
        <legend class="off-screen">{say.chooseModel}</legend>
        {models.value?.map((each) => (
          <ModelChoice key={each.id} record={each} />
        ))}
      </fieldset>
      <p class="quiet">{say.moreModels}</p>
    </Sheet>
  );
}

function ModelChoice({ record }: { record: ModelRecord }) {
  const say = words.value;
  const state =
    record.state === "loaded"
      ? say.loaded
      : record.state === "on_disk"
        ? say.onDisk
        : record.state === "failed"
          ? say.loadingFailed
          : record.progress === undefined
          ? say.loadingNow
          : say.loading(percent(record.progress));
  const fit = record.fit && { fits: say.fits, tight: say.tight, too_large: say.tooLarge }[record.fit.state];
  const facts = [record.family, record.parameters && compact(record.parameters), record.size_bytes && bytes(record.size_bytes), record.context && say.contextOf(number(record.context))];
  return (
    <label class="choice">
      <input
        type="radio"
        name="model"
        checked={model.value?.id === record.id}
        data-first={model.value?.id === record.id}
        onChange={() => changeSettings({ model: record.id })}
        onClick={(event) => {
          if (event.detail === 0) return; // an arrow key, which only looks around
          changeSettings({ model: record.id }); // "change" would come too late: the dialog is gone by then
          close();
          focusComposer();
        }}
      />
      <span class="choice-text">
        <strong>{record.id}</strong>
        <small>{facts.filter(Boolean).join(" · ")}</small>
        {record.toy && <small class="toy">{say.toyChoice}</small>}
        {record.fault && <small class="fit too_large">{record.fault}</small>}
        {record.fit && (
          <small class={`fit ${record.fit.state}`}>
            {fit} ({say.fitDetail(bytes(record.fit.needs_bytes), bytes(record.fit.available_bytes))})
          </small>
        )}
      </span>
      <span class={`state ${record.state}`}>
        <span class={`dot ${record.state}`} />
        {state}
      </span>
    </label>
  );
}

const SHORTCUTS: [keyof typeof words.value, string[]][] = [
  ["shortcutSend", ["Enter"]],
  ["shortcutNewline", ["Shift", "Enter"]],
  ["shortcutEditLast", ["↑"]],
  ["shortcutStop", ["Esc"]],
  ["shortcutNew", ["Alt", "N"]],
  ["shortcutSearch", ["Ctrl", "K"]],
  ["shortcutSidebar", ["Alt", "S"]],
  ["shortcutModel", ["Alt", "M"]],
  ["shortcutSettings", ["Alt", ","]],
  ["shortcutReceipt", ["Alt", "I"]],
  ["shortcutRegenerate", ["Alt", "R"]],
  ["shortcutCopy", ["Alt", "C"]],
  ["shortcutHelp", ["Ctrl", "/"]],
];

const IS_MAC = /Mac/.test(navigator.userAgent);
const MAC_NAMES: Record<string, string> = { Ctrl: "⌘", Alt: "⌥" };

function ShortcutsPanel() {
  return (
    <Sheet title={words.value.shortcuts} place="centre" onClose={close}>
      <dl class="shortcuts">
        {SHORTCUTS.map(([name, keys]) => (
          <div key={name}>
            <dt>{String(words.value[name])}</dt>
            <dd>
              {keys.map((each) => (
                <kbd key={each}>{words.value.keyNames[each] ?? (IS_MAC ? (MAC_NAMES[each] ?? each) : each)}</kbd>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Sheet>
  );
}

interface NumberField {
  name: keyof Sampling;
  label: "temperature" | "topP" | "topK" | "minP" | "seed" | "maxTokens";
  low: number;
  high: number;
  step: number;
}

/** What the server takes (docs/guides/web.md). */
export const NUMBERS: NumberField[] = [
  { name: "temperature", label: "temperature", low: 0, high: 2, step: 0.05 },
  { name: "top_p", label: "topP", low: 0.01, high: 1, step: 0.01 },
  { name: "top_k", label: "topK", low: 0, high: 1000, step: 1 },
  { name: "min_p", label: "minP", low: 0, high: 1, step: 0.01 },
  { name: "seed", label: "seed", low: 0, high: 4294967295, step: 1 },
  { name: "max_tokens", label: "maxTokens", low: 1, high: 1000000, step: 1 },
];

/** A number within its field's range, undefined for nothing, or null for what is no such number. */
export function readNumber(text: string, { low, high, step }: Pick<NumberField, "low" | "high" | "step">): number | undefined | null {
  if (text.trim() === "") return undefined;
  const value = Number(text.replace(",", "."));
  return Number.isFinite(value) && value >= low && value <= high && (step < 1 || Number.isInteger(value)) ? value : null;
}

function NumberInput({ field }: { field: NumberField }) {
  const say = words.value;
  const kept = settings.value.sampling?.[field.name];
  const [text, setText] = useState(kept === undefined ? "" : String(kept));
  const value = readNumber(text, field);
  const id = `number-${field.name}`;
  return (
    <div class="field number">
      <label for={id}>{say[field.label]}</label>
      <input
        id={id}
        type="text"
        inputMode="decimal"
        autocomplete="off"
        value={text}
        aria-invalid={value === null}
        aria-describedby={`${id}-hint`}
        onInput={(event) => {
          setText(event.currentTarget.value);
          const read = readNumber(event.currentTarget.value, field);
          if (read === null) return;
          const { [field.name]: _, ...others } = settings.value.sampling ?? {};
          changeSettings({ sampling: read === undefined ? others : { ...others, [field.name]: read } });
        }}
      />
      <small id={`${id}-hint`}>
        {value === null
          ? [field.step < 1 ? "" : say.wholeNumber, say.outOfRange(number(field.low, 2), number(field.high))].filter(Boolean).join(", ")
          : say[`${field.label}Hint`]}
      </small>
    </div>
  );
}

function SettingsPanel() {
  const say = words.value;
  const [round, setRound] = useState(0);
  return (
    <Sheet title={say.settings} onClose={close}>
      <section>
        <h3>{say.allConversations}</h3>
        <div class="field">
          <label for="instructions">{say.systemPrompt}</label>
          <textarea
            id="instructions"
            rows={3}
            data-first
            value={general.value}
            aria-describedby="instructions-hint"
            onInput={(event) => (general.value = event.currentTarget.value)}
          />
          <small id="instructions-hint">{say.instructionsHint}</small>
        </div>
        <label class="check">
          <input type="checkbox" checked={titles.value} onChange={(event) => (titles.value = event.currentTarget.checked)} />
          <span>{say.titlesByModel}</span>
        </label>
      </section>
      <section>
        <h3>{say.thisConversation}</h3>
        <Presets changed={() => setRound(round + 1)} />
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
        <div class="numbers" key={round}>
          {NUMBERS.map((field) => (
            <NumberInput key={field.name} field={field} />
          ))}
        </div>
        <div class="row-of-buttons between">
          <small>{say.samplingHint}</small>
          <button
            type="button"
            class="plain"
            onClick={() => {
              changeSettings({ sampling: {} });
              setRound(round + 1);
            }}
          >
            {say.reset}
          </button>
        </div>
        <KeepPreset />
      </section>
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
      <section>
        <h3>{say.languageLabel}</h3>
        <Choices
          name="language"
          label={say.languageLabel}
          choices={Object.entries(LANGUAGES).map(([code, { language: name }]) => [code, name])}
          value={language.value}
          choose={(value) => (language.value = value)}
        />
      </section>
      <Data />
    </Sheet>
  );
}

/** Instructions, effort and numbers under a name: chosen for this conversation. */
function Presets({ changed }: { changed: () => void }) {
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
              usePreset(each.name);
              changed();
            }}
          >
            {each.name}
          </button>
          <Button icon="trash" class="danger" label={say.about(say.delete, each.name)} onClick={() => forgetPreset(each.name)} />
        </li>
      ))}
    </ul>
  );
}

/** What was set for this conversation, kept under a name for others. */
function KeepPreset() {
  const say = words.value;
  const [name, setName] = useState("");
  return (
    <div class="field">
      <form
        class="row-of-buttons keep-preset"
        onSubmit={(event) => {
          event.preventDefault();
          if (name.trim()) keepPreset(name.trim());
          setName("");
        }}
      >
        <input
          type="text"
          maxLength={60}
          aria-label={say.presetName}
          aria-describedby="presets-hint"
          placeholder={say.presetName}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <button type="submit" class="plain" disabled={!name.trim()}>
          {say.keepPreset}
        </button>
      </form>
      <small id="presets-hint">{say.presetsHint}</small>
    </div>
  );
}

function Choices<Value extends string>(props: {
  name: string;
  label: string;
  choices: [Value, string][];
  value: Value;
  choose: (value: Value) => void;
}) {
  return (
    <fieldset class="segments">
      <legend class="off-screen">{props.label}</legend>
      {props.choices.map(([value, name]) => (
        <label key={value}>
          <input type="radio" name={props.name} value={value} checked={props.value === value} onChange={() => props.choose(value)} />
          <span>{name}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Data() {
  const say = words.value;
  const exportAll = async () => {
    try {
      download("ouvert-conversations.json", await exportConversations());
    } catch (problem) {
      complain(problem);
    }
  };
  const importFile = async (file: File) => {
    let value: unknown;
    try {
      value = JSON.parse(await file.text());
    } catch {
      value = undefined;
    }
    if (!isExport(value)) {
      notice.value = { text: say.notAnExport, isError: true };
      return;
    }
    try {
      const { added, unchanged, copied } = await importConversations(value);
      notice.value = { text: say.imported(added.length, unchanged.length, copied.length), isError: false };
      await refreshList();
    } catch (problem) {
      complain(problem);
    }
  };
  return (
    <section>
      <h3>{say.data}</h3>
      <p class="quiet">{say.dataHints[where.value](host)}</p>
      <div class="column-of-buttons">
        <Button icon="export" shown label={say.exportAll} onClick={() => void exportAll()} />
        <label class="button file-button">
          <Icon name="plus" />
          <span>{say.importAll}</span>
          <input
            type="file"
            accept=".json,application/json"
            class="off-screen"
            onChange={({ currentTarget: input }) => {
              const chosen = input.files?.[0];
              if (chosen) void importFile(chosen).then(() => (input.value = ""));
            }}
          />
        </label>
        <Button icon="trash" class="danger" shown label={say.deleteAll} onClick={() => (panel.value = { kind: "delete-all" })} />
      </div>
    </section>
  );
}

