import { useEffect } from "preact/hooks";
import { adapterInWords } from "../../receipt";
import type { AgentFacts } from "../../server/agents";
import type { Fit, ModelRecord } from "../../server/models";
import { model, models, refreshModels } from "../../state/models";
import { isOwner, mayUseAgents } from "../../state/session";
import { changeSettings } from "../../state/settings";
import { closePanel, focusComposer, panel } from "../../state/view";
import { bytes, compact, number, percent, words } from "../../words";
import { acting } from "../../words/agents";
import { Sheet } from "./sheet";

export function ModelsPanel() {
  const say = words.value;
  useEffect(() => void refreshModels(), []); // one may have been fetched in a terminal meanwhile
  return (
    <Sheet title={say.chooseModel} place="centre" onClose={closePanel}>
      {models.value?.length === 0 && <p>{isOwner.value ? say.noModels : `${say.noModels} ${say.noModelsHint}`}</p>}
      <fieldset class="models">
        <legend class="off-screen">{say.chooseModel}</legend>
        {models.value?.filter((each) => !each.agent).map((each) => <ModelChoice key={each.id} record={each} />)}
        {mayUseAgents.value && <Agents />}
      </fieldset>
      {isOwner.value ? (
        <div class="row-of-buttons end">
          <button type="button" class="plain" onClick={() => (panel.value = { kind: "training" })}>
            {say.training}
          </button>
          <button type="button" class="plain" onClick={() => (panel.value = { kind: "obtain" })}>
            {say.otherModels}
          </button>
        </div>
      ) : (
        <p class="quiet">{say.moreModels}</p>
      )}
    </Sheet>
  );
}

/** An agent is chosen as a model is. */
function Agents() {
  const say = acting.value;
  const agents = models.value?.filter((each) => each.agent) ?? [];
  return (
    <>
      <div class="row-of-buttons between agents-head">
        <h3>{say.agents}</h3>
        <button type="button" class="plain" onClick={() => (panel.value = { kind: "runs" })}>
          {say.pastRuns}
        </button>
      </div>
      {models.value && agents.length === 0 && <p class="quiet">{say.noAgents}</p>}
      {agents.map((each) => (
        <ModelChoice key={each.id} record={each} />
      ))}
    </>
  );
}

function AgentFactsOf({ agent, record }: { agent: AgentFacts; record: ModelRecord }) {
  const say = acting.value;
  const facts = [say.answersBy(agent.model), agent.tools.length > 0 ? say.toolsOf(agent.tools.join(", ")) : say.noTools, agent.documents.length > 0 && say.collectionsOf(agent.documents.join(", "))];
  return (
    <span class="choice-text">
      <strong>{record.id}</strong>
      <small>{agent.description}</small>
      <small>{facts.filter(Boolean).join(" · ")}</small>
      <small>{say.approveModes[agent.approve] ?? agent.approve}</small>
      {record.toy && <small class="toy">{words.value.toyChoice}</small>}
      {record.fault && <small class="fit too_large">{record.fault}</small>}
    </span>
  );
}

function ModelChoice({ record }: { record: ModelRecord }) {
  const isChosen = model.value?.id === record.id;
  const choose = () => changeSettings({ model: record.id });
  return (
    <label class="choice">
      <input
        type="radio"
        name="model"
        checked={isChosen}
        data-first={isChosen || undefined}
        onChange={choose}
        onClick={(event) => {
          if (event.detail === 0) return; // an arrow key, which only looks around
          choose(); // "change" would come too late: the dialog is gone by then
          closePanel();
          focusComposer();
        }}
      />
      {record.agent ? <AgentFactsOf agent={record.agent} record={record} /> : <ModelFacts record={record} />}
      <span class={`state ${record.state}`}>
        <span class={`dot ${record.state}`} />
        {stateOf(record)}
      </span>
    </label>
  );
}

function ModelFacts({ record }: { record: ModelRecord }) {
  const say = words.value;
  const { family, parameters, size_bytes, context } = record;
  const facts = [family, parameters && compact(parameters), size_bytes && bytes(size_bytes), context && say.contextOf(number(context))];
  return (
    <span class="choice-text">
      <strong>{record.id}</strong>
      <small>{facts.filter(Boolean).join(" · ")}</small>
      {record.adapters?.map((each) => (
        <small key={each.name} class={each.state === "regression" ? "fit too_large" : "quiet"}>
          {`${say.adapter} ${adapterInWords(each, say.adapterStates)}`}
        </small>
      ))}
      {record.toy && <small class="toy">{say.toyChoice}</small>}
      {record.fault && <small class="fit too_large">{record.fault}</small>}
      {record.fit && <FitInMemory fit={record.fit} />}
    </span>
  );
}

export function FitInMemory({ fit }: { fit: Fit }) {
  const say = words.value;
  const verdict = { fits: say.fits, tight: say.tight, too_large: say.tooLarge }[fit.state];
  return (
    <small class={`fit ${fit.state}`}>
      {verdict} ({say.fitDetail(bytes(fit.needs_bytes), bytes(fit.available_bytes))})
    </small>
  );
}

function stateOf({ state, progress }: ModelRecord): string {
  const say = words.value;
  switch (state) {
    case "loaded":
      return say.loaded;
    case "on_disk":
      return say.onDisk;
    case "failed":
      return say.loadingFailed;
    case "loading":
      return progress === undefined ? say.loadingNow : say.loading(percent(progress));
  }
}
