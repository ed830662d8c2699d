import { fetchModel, takeAway } from "../../state/fetching";
import { panel, type Panel } from "../../state/view";
import { bytes, words } from "../../words";
import { Confirmation } from "./confirmation";

const back = () => void (panel.value = { kind: "obtain" });

/** Nobody is asked before the reader has said yes to the host and to the size. */
export function ConfirmFetch({ asked }: { asked: Extract<Panel, { kind: "fetch" }> }) {
  const say = words.value;
  const { model, source, hosts, size, licence } = asked;
  const [first = "", ...others] = hosts;
  const sentences = [
    size === null ? say.fetchAsksUnknown(first) : say.fetchAsks(first, bytes(size)),
    source.startsWith("hf:") && say.fetchLeadsOn,
    ...others.map((each) => say.fetchAsksNext(each)),
    licence && say.fetchLicence(licence),
  ];
  return (
    <Confirmation
      title={say.fetchQuestion(model)}
      text={sentences.filter(Boolean).join(" ")}
      detail={source}
      yes={say.fetchYes(first)}
      back={back}
      act={() => void fetchModel(model, hosts)}
    />
  );
}

export function ConfirmRemove({ model, size }: { model: string; size: number }) {
  const say = words.value;
  return <Confirmation title={say.removeQuestion(model)} text={say.removeExplained(bytes(size))} yes={say.remove} back={back} act={() => void takeAway(model)} isFinal />;
}

export function ConfirmDiscard({ model, size }: { model: string; size: number }) {
  const say = words.value;
  return <Confirmation title={say.discardQuestion(model)} text={say.discardExplained(bytes(size))} yes={say.discard} back={back} act={() => void takeAway(model)} isFinal />;
}
