import { send } from "../../state/asking";
import { model, models } from "../../state/models";
import { host, isOwner, where } from "../../state/session";
import { panel } from "../../state/view";
import { words } from "../../words";
import { Mark } from "../icons";

/** A conversation that has no message yet. */
export function Welcome() {
  const say = words.value;
  const isToy = model.value?.toy === true;
  if (models.value?.length === 0) {
    return (
      <div class="welcome">
        <Mark />
        <h2>{say.noModels}</h2>
        {isOwner.value ? (
          <button type="button" class="primary" onClick={() => (panel.value = { kind: "obtain" })}>
            {say.fetchFirst}
          </button>
        ) : (
          <p>{say.noModelsHint}</p>
        )}
      </div>
    );
  }
  return (
    <div class="welcome">
      <Mark />
      <h2>{say.welcome}</h2>
      <p>{model.value && isToy ? say.toyModel(model.value.id) : say.welcomeHints[where.value](host)}</p>
      <Suggestions texts={isToy ? say.toySuggestions : say.suggestions} />
    </div>
  );
}

function Suggestions({ texts }: { texts: string[] }) {
  return (
    <ul>
      {texts.map((each) => (
        <li key={each}>
          <button type="button" disabled={!model.value} onClick={() => send(each, [])}>
            {each}
          </button>
        </li>
      ))}
    </ul>
  );
}
