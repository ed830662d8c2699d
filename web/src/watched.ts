/** What is seen inside a model while it writes an answer: pieces, and what they make together (docs/formats/watch.md). */
import type { Confidence, Experts } from "./trace";

/** How far the residual stream points along a direction, by token. */
export interface Probe {
  layer: number;
  threshold: number | null; // null: the direction's file has none
  places: number[];
  projections: number[];
}

/** Of some tokens of an answer, in their order. What was not asked for is absent. */
export interface Watched {
  index: number; // which of the answers of a request
  confidence?: Omit<Confidence, "view" | "kind" | "how">;
  experts?: Pick<Experts, "layers" | "places" | "chosen" | "entropy">;
  probes?: Record<string, Probe>;
}

/** Two pieces of one answer as one, list by list. Both have the same fields. */
export function joined(one: Watched | undefined, two: Watched): Watched {
  if (!one) return two;
  return {
    index: one.index,
    ...(one.confidence && two.confidence ? { confidence: joinedConfidence(one.confidence, two.confidence) } : {}),
    ...(one.experts && two.experts ? { experts: joinedExperts(one.experts, two.experts) } : {}),
    ...(one.probes && two.probes ? { probes: joinedProbes(one.probes, two.probes) } : {}),
  };
}

type Of<Field extends keyof Watched> = NonNullable<Watched[Field]>;

const joinedConfidence = (one: Of<"confidence">, two: Of<"confidence">): Of<"confidence"> => ({
  places: [...one.places, ...two.places],
  ids: [...one.ids, ...two.ids],
  logprobs: [...one.logprobs, ...two.logprobs],
  entropy: [...one.entropy, ...two.entropy],
  ranks: [...one.ranks, ...two.ranks],
  alternative_ids: [...one.alternative_ids, ...two.alternative_ids],
  alternative_logprobs: [...one.alternative_logprobs, ...two.alternative_logprobs],
  pieces: { ...one.pieces, ...two.pieces },
});

const joinedExperts = (one: Of<"experts">, two: Of<"experts">): Of<"experts"> => ({
  layers: one.layers,
  places: [...one.places, ...two.places],
  chosen: one.chosen.map((tokens, layer) => [...tokens, ...(two.chosen[layer] ?? [])]),
  entropy: one.entropy.map((tokens, layer) => [...tokens, ...(two.entropy[layer] ?? [])]),
});

const joinedProbes = (one: Of<"probes">, two: Of<"probes">): Of<"probes"> =>
  Object.fromEntries(
    Object.entries(one).map(([name, probe]) => [
      name,
      { ...probe, places: [...probe.places, ...(two[name]?.places ?? [])], projections: [...probe.projections, ...(two[name]?.projections ?? [])] },
    ]),
  );
