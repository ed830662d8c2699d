import { h, render } from "preact";
import { act } from "preact/test-utils";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PatchGrid } from "../src/patch";
import { withWords, type Attention, type Attribution, type Confidence, type Experts, type HiddenAttention, type Lens, type States, type Trace, type TracedToken } from "../src/trace";
import { AttentionView, HeadMatrix, meanOf } from "../src/views/attention";
import { AttributionView } from "../src/views/attribution";
import { Compare, partingOf } from "../src/views/compare";
import { Alternatives, bits, ConfidenceLine, underlined } from "../src/views/confidence";
import { groupsOf } from "../src/views/conversation";
import { ExpertsView, loadOf, spreadOf } from "../src/views/experts";
import { LensGrid, settledAt } from "../src/views/lens";
import { PatchGridView, strongestOf } from "../src/views/patch-grid";
import { HiddenAttentionView, StatesView } from "../src/views/states";

/** Of a real answer of SmolLM2 ("The capital of France is Paris."), as inspection wrote them. */
const sample = <View>(name: string) => JSON.parse(readFileSync(`../tests/inspection/samples/${name}.json`, "utf8")) as View;
const trace = sample<Trace>("trace");
const confidence = sample<Confidence>("confidence");
const lens = sample<Lens>("lens");
const none = () => undefined;
const how = { says: "By looking.", lines: [] };

let box: HTMLElement;
const draw = (view: Parameters<typeof render>[0]) => act(() => render(view, box));
const texts = (selector: string) => [...box.querySelectorAll(selector)].map((each) => each.textContent);
const press = (text: string) => act(() => [...box.querySelectorAll("button")].find((each) => each.textContent?.includes(text))?.click());

beforeEach(() => {
  box = document.createElement("div");
  document.body.append(box);
});
afterEach(() => {
  render(null, box);
  box.remove();
});

const tokensOf = (...words: string[]): TracedToken[] => words.map((text, place) => ({ place, id: place + 10, text, part: "answer", message: 1, channel: null, source: "chosen" }));

describe("confidence", () => {
  test("underlines each token by its probability, and leaves alone what nothing predicted", () => {
    const shown = underlined(trace.tokens, confidence);
    expect(shown[0]?.share).toBeNull(); // nothing stands before the first
    const paris = trace.tokens.findIndex(({ text }) => text === " Paris");
    expect(shown[paris]?.share).toBeCloseTo(Math.exp(confidence.logprobs[confidence.places.indexOf(paris)] ?? 0), 12);
    expect(shown[paris]?.said).toMatch(/^“ Paris”, probability \d/);
  });

  test("the token that came is among the alternatives, or stands below them with its rank", () => {
    const place = trace.tokens.findIndex(({ text }) => text === " Paris");
    draw(h(Alternatives, { view: confidence, place }));
    expect(texts(".came th").length).toBe(1);
    const row = confidence.places.indexOf(place);
    const ranks = confidence.ranks.map((rank, n) => (n === row ? 77 : rank));
    const alternative_ids = confidence.alternative_ids.map((ids, n) => (n === row ? ids.map((_, m) => m) : ids));
    draw(h(Alternatives, { view: { ...confidence, ranks, alternative_ids }, place }));
    expect(texts(".came th")).toEqual(["“ Paris” written, number 77"]);
    draw(h(Alternatives, { view: confidence, place: 0 }));
    expect(box.textContent).toContain("nothing stands before it");
  });

  test("the finding names the least likely token, and entropy is in bits", () => {
    draw(h(ConfidenceLine, { view: confidence, at: 1, onMove: none }));
    const least = confidence.logprobs.indexOf(Math.min(...confidence.logprobs));
    expect(texts("figcaption")[0]).toContain(confidence.pieces[String(confidence.ids[least])]?.trim());
    expect(bits(Math.LN2)).toBe(1);
  });
});

describe("the lens", () => {
  test("has the last layer on top, whose row is the answer, and marks the token that came", () => {
    const at = trace.tokens.findIndex(({ text }) => text === " Paris");
    draw(h(LensGrid, { view: lens, tokens: trace.tokens, at, onMove: none }));
    expect(texts("[role=rowheader]")[0]).toBe("Layer 29");
    const column = lens.places.indexOf(at - 1);
    const cells = [...box.querySelectorAll<HTMLElement>("[role=row]")][1]?.querySelectorAll<HTMLElement>("[role=gridcell]");
    expect([cells?.[column]?.textContent, cells?.[column]?.className]).toEqual([" Paris", "cell marked"]);
    expect(box.querySelector("[role=status]")?.textContent).toMatch(/^After “ is”, layer 29 would write: “ Paris”/);
  });

  test("a token is settled from the first layer on after which no other is likelier", () => {
    const tiny = { ...lens, layers: [0, 1, 2, 3], came: [7], ids: [[[7]], [[5]], [[7]], [[7]]] };
    expect(settledAt(tiny, 0)).toBe(2);
    expect(settledAt({ ...tiny, ids: [[[7]], [[7]], [[7]], [[5]]] }, 0)).toBeUndefined();
    expect(settledAt({ ...tiny, ids: [[[7]], [[7]], [[7]], [[7]]] }, 0)).toBe(0);
  });
});

describe("attention", () => {
  const tokens = tokensOf("The", " cat", " sat", " down");
  const view: Attention = {
    view: "attention", kind: "observation", how, layer: 3, window: 2, queries: [2], heads: [0, 1], places: [0, 1, 2],
    weights: [[[0, 0.25, 0.25], [0, 0.001, 0.002]]], sinks: [[0.5, 0.997]], at_rest: [[false, true]], added: null,
  };

  test("shades what is seen, names the sink apart, and says which heads are at rest", () => {
    draw(h(AttentionView, { view, tokens, query: 2, onMove: none }));
    expect(texts(".token")).toEqual(["The", " cat", " sat"]);
    expect(texts("figcaption")[1]).toMatch(/^1 of 2 heads are at rest/);
    expect(texts(".bar-value")).toEqual(["“ cat” 25%, sink 50%", "at rest, “ sat” 0.2%, sink 99.7%"]);
    expect([...box.querySelectorAll<HTMLElement>(".before")].map((each) => each.style.width)).toEqual(["50%", "99.7%"]);
  });

  test("a window is between two bars", () => {
    draw(h(AttentionView, { view, tokens, query: 2, onMove: none }));
    expect([texts(".window-from"), texts(".window-to")]).toEqual([[" cat"], [" sat"]]);
    expect(texts("figcaption")[0]).toContain("sees only 2 tokens");
    draw(h(AttentionView, { view: { ...view, window: null }, tokens, query: 2, onMove: none }));
    expect(box.querySelectorAll(".window-from, .window-to").length).toBe(0);
  });

  test("of all heads the mean, of one what it looks at with its own sink", () => {
    expect(meanOf([[0, 0.25], [1, 0.75]])).toEqual([0.5, 0.5]);
    draw(h(AttentionView, { view, tokens, query: 2, onMove: none }));
    expect(texts("figcaption")[0]).not.toContain("sink");
    press("head 1");
    expect(texts("figcaption")[0]).toMatch(/head 1 looks most at “ sat”, with 0.2%.*The sink, which gives nothing, has 99.7%/);
    press("head 1");
    expect(texts("figcaption")[0]).toContain("the mean of all heads");
  });

  test("a head's matrix has a row for each token that looks", () => {
    const square = { ...view, queries: [0, 1], places: [0, 1], heads: [1], weights: [[[1, 0]], [[0.4, 0.6]]], sinks: null };
    draw(h(HeadMatrix, { view: square, tokens, onMove: none }));
    expect(texts("[role=gridcell]")).toEqual(["100%", "", "40%", "60%"]);
  });
});

describe("experts", () => {
  const experts = sample<Experts>("experts");

  test("counted from the choices, the load is what inspection counted", () => {
    expect(loadOf(experts, experts.places)).toEqual(experts.load.map((row) => row.map((share) => expect.closeTo(share, 4))));
    const one = loadOf(experts, [experts.places[0] ?? 0]);
    expect(one.map((row) => row.reduce((sum, share) => sum + share, 0))).toEqual(experts.layers.map(() => expect.closeTo(1, 9)));
    expect(spreadOf(experts)[0]).toBeCloseTo(experts.entropy.reduce((sum, row) => sum + (row[0] ?? 0), 0) / experts.layers.length / Math.LN2, 9);
  });

  test("two selections are compared with their signs", () => {
    const tokens = tokensOf(...experts.places.map((n) => `t${n}`));
    draw(h(ExpertsView, { view: experts, tokens, at: 0, onMove: none }));
    expect(texts("[role=gridcell]").length).toBe(experts.layers.length * experts.experts);
    const select = box.querySelectorAll("select")[1] as HTMLSelectElement;
    act(() => {
      select.value = "1"; // all tokens, less all tokens
      select.dispatchEvent(new Event("change", { bubbles: true }));
    });
    expect(new Set(texts("[role=gridcell]"))).toEqual(new Set([""]));
  });
});

describe("attribution", () => {
  test("the strongest parts first, the rest in one, and the sum beside the logit", () => {
    const view = sample<Attribution>("attribution");
    draw(h(AttributionView, { view, tokens: trace.tokens }));
    expect(texts(".bars li").length).toBe(15);
    expect(texts(".bar-name").at(-1)).toBe(`${view.parts.length - 14} other parts`);
    expect(texts("figcaption")[0]).toContain("All parts add up to 18.491; the model’s own logit is 18.49");
    const shown = texts(".bar-value").map((each) => Number(each?.replace("+", "")));
    expect(shown.reduce((sum, each) => sum + each, 0)).toBeCloseTo(view.sum, 1);
  });
});

describe("states", () => {
  const tokens = tokensOf("a", " b", " c");
  const states: States = { view: "states", kind: "observation", how, layers: [0, 1], places: [0, 1, 2], norms: [[1, 2, 3], [4, 9, 6]], time_steps: [[0.1, 0.1, 0.1], [0.2, 0.3, 0.2]], longest_steps: [[1, 1, 1], [1, 1, 1]] };
  const hidden: HiddenAttention = { view: "hidden_attention", kind: "observation", how, layer: 1, query: 2, places: [0, 1, 2], weights: [0.5, 0.1, 1], added: [3, 0.2, 1], skip: 0.4 };

  test("the largest state is named, the last layer is on top", () => {
    draw(h(StatesView, { view: states, tokens, at: 1, onMove: none }));
    expect(texts("figcaption")[0]).toBe("The largest state: After “ b”, layer 1: state norm 9, mean time step 0.3.");
    expect(texts("[role=gridcell]")).toEqual(["4", "9", "6", "1", "2", "3"]);
  });

  test("what reaches a token is shaded by what it adds", () => {
    draw(h(HiddenAttentionView, { view: hidden, tokens, onMove: none }));
    expect(texts("figcaption")[0]).toContain("most comes from “a”, with a length of 3; directly from its own input comes 0.4");
  });
});

describe("patching", () => {
  const grid: PatchGrid = {
    view: "patch", kind: "intervention", how,
    clean: { ids: [1, 2, 3], tokens: ["The", " Paris", " is"], metric: 4 }, corrupted: { ids: [1, 9, 3], tokens: ["The", " Rome", " is"], metric: -3 },
    metric: { kind: "logit_difference", tokens: [{ id: 1, text: " France" }, { id: 2, text: " Italy" }] },
    over: "out", direction: "denoise", layers: [0, 1], alignment: [[0, 0], [1, 1], [2, 2]], columns: ["The", " Rome", " is"],
    effects: [[0, 0.97, 0.02], [-0.5, 0.4, 0.9]],
    noise: { donors: 4, low: [[-0.1, -0.1, -0.1], [-0.6, -0.1, -0.1]], high: [[0.1, 0.1, 0.1], [0.6, 0.1, 0.1]], beyond: [[false, true, false], [false, true, true]] },
  };

  test("what is within the noise is hatched and said to say nothing; the strongest beyond it is the finding", () => {
    draw(h(PatchGridView, { grid }));
    expect(strongestOf(grid)).toEqual([0, 1]);
    expect(texts("figcaption")[0]).toMatch(/strongest effect is 0\.97, at layer 0, “ Rome”\. 3 of 6 places are beyond the noise/);
    expect(texts(".noise")).toEqual(["-0.5", "0", "0.02"]);
    expect(box.querySelector(".noise")?.getAttribute("aria-label")).toContain("says nothing");
    expect(texts(".aligned strong")).toEqual([" Paris", " Rome"]);
  });

  test("of a real grid, every place is drawn and either noise or beyond it", () => {
    const real = sample<PatchGrid>("patch");
    draw(h(PatchGridView, { grid: real }));
    expect(texts("[role=gridcell]").length).toBe(real.layers.length * real.columns.length);
    expect(texts(".noise").length).toBe(real.noise?.beyond.flat().filter((beyond) => !beyond).length);
  });

  test("where all is noise, nothing is found; without donors nothing is called noise", () => {
    const noise = grid.noise && { ...grid.noise, beyond: grid.effects.map((row) => row.map(() => false)) };
    draw(h(PatchGridView, { grid: { ...grid, noise } }));
    expect(texts("figcaption")[0]).toMatch(/^No effect is beyond the noise\./);
    draw(h(PatchGridView, { grid: { ...grid, noise: null } }));
    expect(texts(".noise")).toEqual([]);
  });
});

describe("comparing", () => {
  test("answers part at the first character that differs, whatever their tokens", () => {
    expect(partingOf(tokensOf("The", " cat"), tokensOf("The", " cat"))).toBeUndefined();
    expect(partingOf(tokensOf("Th", "e cat"), tokensOf("The", " dog"))).toEqual([1, 1]);
    expect(partingOf(tokensOf("The", " cat", " sat"), tokensOf("The", " cat"))).toEqual([2, 2]); // the other ended
    expect(partingOf(tokensOf("Th", "e", " cat"), tokensOf("The cat"))).toBeUndefined();
  });

  test("the same tokens are compared one by one, each at its own place", () => {
    const other: Confidence = { ...confidence, logprobs: confidence.logprobs.map((each) => each - 1) };
    const side = (name: string, view: Confidence) => ({ name, trace, confidence: view });
    draw(h(Compare, { sides: [side("one", confidence), side("two", other)] }));
    expect(texts(".finding")[0]).toBe("one and two say the same, to the last character.");
    expect(texts("figcaption")[0]).toMatch(/^They differ most at “.*”: one \d.*%, two \d.*%/);
    const shifted: Trace = { ...trace, tokens: trace.tokens.map((each) => (each.text === " Paris" ? { ...each, id: 1, text: " Lyon" } : each)) };
    draw(h(Compare, { sides: [side("one", confidence), { ...side("two", other), trace: shifted }] }));
    expect(texts(".finding")[0]).toBe("They part at token 6 of the answer: one says “ Paris”, two says “ Lyon”.");
    expect(box.textContent).toContain("of different tokens");
  });
});

test("where a model has no words, its tokens are read by their ids", () => {
  expect(withWords(trace)).toBe(trace);
  const wordless = { ...trace, tokens: trace.tokens.map((token) => ({ ...token, text: "" })) };
  expect(withWords(wordless).tokens[2]?.text).toBe(`#${trace.tokens[2]?.id} `);
});

test("the tokens of one message are one group, and those of the chat format others", () => {
  const groups = groupsOf(trace.tokens);
  expect(groups.flat()).toEqual(trace.tokens);
  expect(groups.map(([first]) => [first?.part, first?.message])).toEqual([["prompt", null], ["prompt", 0], ["prompt", null], ["answer", 1]]);
});
