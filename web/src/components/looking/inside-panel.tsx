import { find } from "../../conversation";
import { lookingAt } from "../../state/looking";
import { current } from "../../state/open-conversations";
import { mayEdit } from "../../state/session";
import { closePanel } from "../../state/view";
import { Inside } from "../../views/inside";
import { words } from "../../words";
import { look } from "../../words/look";
import { Sheet } from "../panels/sheet";
import { CompareTab } from "./compare-tab";
import { ExportInside } from "./export-inside";
import { PatchTab } from "./patch-tab";
import { TryTab } from "./try-tab";

/** The full view of an answer that is looked into. */
export function InsidePanel({ message }: { message: string }) {
  const say = words.value;
  const looking = lookingAt(message);
  const answer = find(current.value, message);
  if (looking?.step !== "done" || !answer) return null;
  const { id, source } = looking.result;
  return (
    <Sheet title={say.insideTitle(answer.model ?? say.assistant)} place="whole" onClose={closePanel}>
      <ExportInside id={id} title={current.value.title} />
      <Inside source={source} more={[
          { name: look.value.compare, panel: () => <CompareTab message={answer} source={source} /> },
          { name: say.patch, panel: () => <PatchTab model={answer.model ?? ""} available={source.trace.available} /> },
          ...(mayEdit.value ? [{ name: say.tryChange, panel: () => <TryTab message={answer} source={source} /> }] : []),
        ]} />
    </Sheet>
  );
}
