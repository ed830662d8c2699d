/** The inside of an answer: its tokens at the left, views in the middle, what is known of the selected token at the right. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { ShownToken } from "../figures/token-text";
import { look } from "../words/look";
import { ConfidenceLine, underlined } from "./confidence";
import { Conversation } from "./conversation";
import { Facts } from "./facts";
import { AttentionPanel, AttributionPanel, ExpertsPanel, LensPanel, StatesPanel } from "./panels";
import { quote } from "./quote";
import { useView, type Source } from "./source";
import { Tabs } from "./tabs";
import { WithView } from "./with-view";

export interface ExtraTab {
  name: string;
  panel: (at: number | undefined) => ComponentChildren;
}

/** `more`: tabs of who has a server to ask. */
export function Inside({ source, more = [] }: { source: Source; more?: ExtraTab[] }) {
  const say = look.value;
  const { trace } = source;
  const [at, setAt] = useState<number | undefined>(() => trace.tokens.find((each) => each.part === "answer")?.place ?? trace.tokens[1]?.place);
  const [tab, setTab] = useState(0);
  const confidence = useView(source, "confidence");
  const known = confidence.state === "there" ? confidence.view : undefined;
  const shown: ShownToken[] = known ? underlined(trace.tokens, known) : trace.tokens.map(({ text, channel }) => ({ text, said: quote(text), share: null, channel: channel ?? undefined }));
  const props = { source, at, onMove: setAt };
  const tabs: ExtraTab[] = [
    { name: say.lens, panel: () => <LensPanel {...props} /> },
    { name: say.attention, panel: () => <AttentionPanel {...props} /> },
    { name: say.experts, panel: () => <ExpertsPanel {...props} /> },
    ...(trace.available.includes("states") ? [{ name: say.states, panel: () => <StatesPanel {...props} /> }] : []),
    { name: say.attribution, panel: () => <AttributionPanel {...props} /> },
    { name: say.confidence, panel: () => <WithView loaded={confidence}>{(view) => <ConfidenceLine view={view} at={at} onMove={setAt} />}</WithView> },
    ...more,
  ];
  return (
    <div class="inside">
      <Conversation tokens={trace.tokens} shown={shown} drawn="underline" at={at} onMove={setAt} />
      <Tabs label={say.views} names={tabs.map(({ name }) => name)} at={tab} choose={setTab}>
        {tabs[tab]?.panel(at)}
      </Tabs>
      <Facts trace={trace} confidence={known} at={at} />
    </div>
  );
}
