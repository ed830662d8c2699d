/** What stands under each tab: the view that the selected token and the reader's choices ask for. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Trace } from "../trace";
import { duration, number } from "../words/language";
import { look } from "../words/look";
import { AttentionView, HeadMatrix } from "./attention";
import { AttributionView } from "./attribution";
import { Choose, ExpertsView } from "./experts";
import { LensGrid } from "./lens";
import { useView, type Source, type ViewsByName } from "./source";
import { HiddenAttentionView, StatesView } from "./states";
import { WithView } from "./with-view";

interface PanelProps {
  source: Source;
  at: number | undefined;
  onMove: (place: number) => void;
}

/** A view that this family does not have is named, with those that it has; nothing is asked for. */
function IfAvailable({ source, name, called, children }: { source: Source; name: keyof ViewsByName; called: string; children: ComponentChildren }) {
  const say = look.value;
  const { available, model } = source.trace;
  if (available.includes(name)) return <>{children}</>;
  return <p class="no-view">{say.familyLacks(model.family, called, available.map((each) => say.viewNames[each] ?? each).join(", "))}</p>;
}

const UNASKED_SECONDS = 3; // a lens that takes no longer is computed without a question

/** A lens is dear: one product with the output matrix for each layer and token. Its price is said before. */
export function LensPanel(props: PanelProps) {
  const say = look.value;
  const { trace } = props.source;
  const places = lensPositions(trace);
  const share = places === "all" ? 1 : places.split(",").length / trace.tokens.length;
  const seconds = (trace.plan?.lens_seconds ?? 0) * share;
  const [isAgreed, setAgreed] = useState(false);
  return (
    <IfAvailable source={props.source} name="lens" called={say.lens}>
      {seconds <= UNASKED_SECONDS || isAgreed || props.source.has("lens") ? (
        <LoadedLens {...props} />
      ) : (
        <div class="no-view">
          <p>{say.lensPrice(duration(seconds))}</p>
          <button type="button" class="quiet-button" onClick={() => setAgreed(true)}>
            {say.computeLens}
          </button>
        </div>
      )}
    </IfAvailable>
  );
}

const LENS_ALL = 160; // tokens; of longer ones the lens is of the answer, and of what stands before it

function lensPositions({ tokens }: Trace): string {
  const first = tokens.find(({ part }) => part === "answer")?.place;
  if (tokens.length <= LENS_ALL || first === undefined) return "all";
  return tokens.filter(({ place }) => place >= first - 1).map(({ place }) => place).join();
}

function LoadedLens({ source, at, onMove }: PanelProps) {
  const loaded = useView(source, "lens", { positions: lensPositions(source.trace) });
  return <WithView loaded={loaded}>{(view) => <LensGrid view={view} tokens={source.trace.tokens} at={at} onMove={onMove} />}</WithView>;
}

export function AttentionPanel(props: PanelProps) {
  const say = look.value;
  const isHidden = props.source.trace.available.includes("hidden_attention");
  return (
    <IfAvailable source={props.source} name={isHidden ? "hidden_attention" : "attention"} called={say.attention}>
      <LayerChoice source={props.source} name={isHidden ? "hidden_attention" : "attention"}>
        {(layer) => (isHidden ? <LoadedHidden {...props} layer={layer} /> : <LoadedAttention {...props} layer={layer} />)}
      </LayerChoice>
    </IfAvailable>
  );
}

function LayerChoice({ source, name, children }: { source: Source; name: "attention" | "hidden_attention"; children: (layer: number) => ComponentChildren }) {
  const say = look.value;
  const layers = source.layers(name);
  const [chosen, setChosen] = useState(Math.floor(layers.length / 2));
  const layer = layers[chosen];
  if (layer === undefined) return <p class="no-view">{say.notInFile}</p>;
  return (
    <>
      <div class="choices-row">
        <Choose label={say.layer} names={layers.map((each) => number(each))} at={chosen} choose={setChosen} />
      </div>
      {children(layer)}
    </>
  );
}

const MATRIX_MOST = 256; // tokens of which a head's whole matrix is drawn

/** What was read when the selected token was written: by the token before it. */
function LoadedAttention({ source, at, onMove, layer }: PanelProps & { layer: number }) {
  const say = look.value;
  const query = Math.max(0, (at ?? 1) - 1);
  const [matrixOf, setMatrixOf] = useState<number | undefined>(undefined);
  const loaded = useView(source, "attention", { layer, query });
  return (
    <WithView loaded={loaded}>
      {(view) => (
        <>
          <AttentionView view={view} tokens={source.trace.tokens} query={query} onMove={onMove} />
          {source.trace.tokens.length <= MATRIX_MOST && (
            <div class="choices-row">
              <Choose label={say.matrixOf} names={[say.nothing, ...view.heads.map((head) => `${say.head} ${number(head)}`)]} at={matrixOf === undefined ? 0 : matrixOf + 1} choose={(index) => setMatrixOf(index === 0 ? undefined : index - 1)} />
            </div>
          )}
          {matrixOf !== undefined && <LoadedMatrix source={source} at={at} onMove={onMove} layer={layer} head={view.heads[matrixOf] ?? 0} />}
        </>
      )}
    </WithView>
  );
}

function LoadedMatrix({ source, onMove, layer, head }: PanelProps & { layer: number; head: number }) {
  const loaded = useView(source, "attention", { layer, head, query: "all" });
  if (loaded.state !== "there") return <p role="status">{loaded.state === "loading" ? look.value.computing : loaded.why}</p>;
  return <HeadMatrix view={loaded.view} tokens={source.trace.tokens} onMove={onMove} />;
}

function LoadedHidden({ source, at, onMove, layer }: PanelProps & { layer: number }) {
  const loaded = useView(source, "hidden_attention", { layer, query: Math.max(0, (at ?? 1) - 1) });
  return <WithView loaded={loaded}>{(view) => <HiddenAttentionView view={view} tokens={source.trace.tokens} onMove={onMove} />}</WithView>;
}

export function ExpertsPanel(props: PanelProps) {
  return (
    <IfAvailable source={props.source} name="experts" called={look.value.experts}>
      <LoadedExperts {...props} />
    </IfAvailable>
  );
}

function LoadedExperts({ source, at, onMove }: PanelProps) {
  const loaded = useView(source, "experts");
  return <WithView loaded={loaded}>{(view) => <ExpertsView view={view} tokens={source.trace.tokens} at={at} onMove={onMove} />}</WithView>;
}

export function StatesPanel({ source, at, onMove }: PanelProps) {
  const loaded = useView(source, "states");
  return <WithView loaded={loaded}>{(view) => <StatesView view={view} tokens={source.trace.tokens} at={at} onMove={onMove} />}</WithView>;
}

export function AttributionPanel(props: PanelProps) {
  return (
    <IfAvailable source={props.source} name="attribution" called={look.value.attribution}>
      <LoadedAttribution {...props} />
    </IfAvailable>
  );
}

/** Of the selected token, after the one before it; behind the last token, of the likeliest. */
function LoadedAttribution({ source, at }: PanelProps) {
  const loaded = useView(source, "attribution", { position: Math.max(0, (at ?? 1) - 1), heads: 1 });
  if (!at) return <p class="no-view">{look.value.noNumbersFor}</p>;
  return <WithView loaded={loaded}>{(view) => <AttributionView view={view} tokens={source.trace.tokens} />}</WithView>;
}
