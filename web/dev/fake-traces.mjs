/** Looking inside, for the fake server: samples of a real answer and of a real grid of SmolLM2 (tests/inspection/samples). */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const SAMPLES = fileURLToPath(new URL("../../tests/inspection/samples/", import.meta.url));
const sample = (name) => JSON.parse(readFileSync(`${SAMPLES}${name}.json`, "utf8"));
const PLAN = { tokens: 45, seconds: 1, bytes: 5_310_000 };

/** `written`: what a watched answer waits for before its last tokens; `asked`: the bodies of all requests; `made`: work that has not been dropped; `dropped`: their ids. */
export function makeTraces() {
  return { asked: [], dropped: [], plan: { ...PLAN }, polls: 1, made: new Map(), directions: [], written: Promise.resolve() };
}

/** The text of the answer that the samples are of. */
export const sampledAnswer = () => sample("trace").tokens.filter(({ part }) => part === "answer").map(({ text }) => text).join("").replace(/<\|im_end\|>$/, "");

/** The sampled answer as a server streams it where it is watched: what each token says, and its piece. */
export function watchedTokens(watch) {
  const confidence = sample("confidence");
  const tokens = sample("trace").tokens.filter(({ part }) => part === "answer");
  return tokens.map(({ place, text }, n) => {
    const row = confidence.places.indexOf(place);
    const own = (name) => [confidence[name][row]];
    const ids = [confidence.ids[row], ...confidence.alternative_ids[row]];
    const piece = {
      index: 0,
      confidence: {
        places: [place], ids: own("ids"), logprobs: own("logprobs"), entropy: own("entropy"), ranks: own("ranks"), alternative_ids: own("alternative_ids"), alternative_logprobs: own("alternative_logprobs"),
        pieces: Object.fromEntries(ids.map((id) => [id, confidence.pieces[id]])),
      },
    };
    if (watch.includes("experts")) piece.experts = { layers: [0, 1], places: [place - 1], chosen: [[[3, 1]], [[0, 2]]], entropy: [[0.1 * n], [0.05 * n]] };
    const probes = watch.filter((name) => name.startsWith("probe:")).map((name) => [name.slice("probe:".length), { layer: 12, threshold: 0.5, places: [place - 1], projections: [0.25 * n - 0.5] }]);
    if (probes.length > 0) piece.probes = Object.fromEntries(probes);
    return { text, piece };
  });
}

/** The status and the body for a request about what is inside; undefined for another. */
export function traceRoute(traces, method, url, body) {
  const [, first, place, id, view] = url.pathname.split("/");
  if (first !== "ouvert") return undefined;
  if (place === "directions") return directionRoute(traces, id);
  if (!id) return begin(traces, place, body);
  const made = traces.made.get(id);
  if (!made) return [404, { error: { message: `There is no ${place} ${id}.` } }];
  if (method === "DELETE") {
    traces.made.delete(id);
    traces.dropped.push(id);
    return [200, {}];
  }
  if (!view && made.state !== "done") advance(traces, made);
  if (!view) return [200, made.state === "done" ? { ...made, ...(place === "patches" ? { result: sample("patch") } : summaryOf(made)) } : made];
  return viewRoute(view, url);
}

function begin(traces, place, body) {
  if (traces.refuses) return [400, { error: { message: traces.refuses } }];
  traces.asked.push({ place, ...body });
  if (body.plan) return [200, { object: "plan", plan: traces.plan }];
  const made = { id: `${place}-${traces.made.size + 1}`, state: "running", plan: traces.plan, progress: { done: 0, total: traces.plan.tokens }, polls: 0, model: body.model };
  traces.made.set(made.id, made);
  return [202, made];
}

function advance(traces, made) {
  made.polls += 1;
  made.progress.done = Math.floor((made.polls / traces.polls) * made.progress.total);
  if (made.polls >= traces.polls) made.state = "done";
}

function summaryOf({ model }) {
  const summary = sample("trace");
  return { ...summary, model: { ...summary.model, name: model } };
}

function viewRoute(view, url) {
  if (view === "page") return [200, "<!doctype html><title>Inside</title>"];
  if (!existsSync(`${SAMPLES}${view}.json`) || !sample("trace").available.includes(view)) return [400, { error: { message: `smollm2 has no view ${view}.` } }];
  const query = url.searchParams.get("query"); // the sample is of one token that looks
  return [200, view === "attention" && query !== "all" ? { ...sample(view), layer: Number(url.searchParams.get("layer")), queries: [Number(query)] } : sample(view)];
}

function directionRoute(traces, name) {
  if (!name) return [200, { object: "list", data: traces.directions.map((each) => ({ name: each.name })) }];
  const found = traces.directions.find((each) => each.name === name);
  return found ? [200, found] : [404, { error: { message: `There is no direction ${name}.` } }];
}
