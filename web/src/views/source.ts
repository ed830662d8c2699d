/** Where views come from: a server that computes them when they are asked for, or a file that holds them. */
import { useEffect, useState } from "preact/hooks";
import type { Attention, Attribution, Confidence, Experts, HiddenAttention, Lens, States, Trace } from "../trace";

export interface ViewsByName {
  confidence: Confidence;
  lens: Lens;
  attention: Attention;
  experts: Experts;
  attribution: Attribution;
  states: States;
  hidden_attention: HiddenAttention;
}

export type Ask = Record<string, string | number>;

export interface Source {
  trace: Trace;
  /** Whether the view was asked for already: it costs nothing more. */
  has(name: keyof ViewsByName): boolean;
  /** Layers that can be asked for one by one. */
  layers(name: "attention" | "hidden_attention"): number[];
  /** Rejects with what there is to say where the view is not to be had: of this family, or in this file. */
  load<Name extends keyof ViewsByName>(name: Name, ask?: Ask): Promise<ViewsByName[Name]>;
}

export type Loaded<View> = { state: "loading" } | { state: "there"; view: View } | { state: "missing"; why: string };

/** A view, from the moment it is asked for. While another is loaded, the one before stays. */
export function useView<Name extends keyof ViewsByName>(source: Source, name: Name, ask: Ask = {}): Loaded<ViewsByName[Name]> {
  const [loaded, setLoaded] = useState<Loaded<ViewsByName[Name]>>({ state: "loading" });
  useEffect(() => {
    let isWanted = true;
    source.load(name, ask).then(
      (view) => isWanted && setLoaded({ state: "there", view }),
      (problem: unknown) => isWanted && setLoaded({ state: "missing", why: problem instanceof Error ? problem.message : String(problem) }),
    );
    return () => {
      isWanted = false;
    };
  }, [source, name, JSON.stringify(ask)]);
  return loaded;
}
