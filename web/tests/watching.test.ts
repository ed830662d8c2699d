import { beforeEach, expect, test } from "vitest";
import { rangeOf } from "../src/components/looking/watched-answer";
import { eventsOf, requestBody } from "../src/server/answers";
import type { ModelRecord } from "../src/server/models";
import type { Session } from "../src/server/session";
import { session } from "../src/state/session";
import { watching } from "../src/state/stored";
import { chooseProbe, forgetWatched, keepWatched, mayProbe, watchedOf, watchOf } from "../src/state/watching";
import { joined, type Watched } from "../src/watched";

const DENSE: ModelRecord = { id: "smollm2", family: "llama", parameters: 135, state: "loaded" };
const MIXTURE: ModelRecord = { ...DENSE, id: "gpt-oss:20b", experts: true };
const owner = { opened_from: "this_machine", who: "owner", needs_key: false, reads_stored: true, compares: false, scopes: ["inspect", "edit"] } satisfies Session;

beforeEach(() => {
  session.value = owner;
  watching.value = { isOn: false, probes: {} };
});

test("nothing is watched by default, nor for anybody but the owner", () => {
  expect(watchOf(DENSE)).toBeUndefined();
  watching.value = { isOn: true, probes: {} };
  expect(watchOf(DENSE)).toEqual(["confidence"]);
  session.value = { ...owner, who: "key" };
  expect(watchOf(DENSE)).toBeUndefined();
});

test("experts are asked for of a mixture, and each model has a probe of its own", () => {
  watching.value = { isOn: true, probes: {} };
  chooseProbe("gpt-oss:20b", "joy");
  expect(watchOf(MIXTURE)).toEqual(["confidence", "experts", "probe:joy"]);
  expect(watchOf(DENSE)).toEqual(["confidence"]);
  chooseProbe("gpt-oss:20b", undefined);
  expect(watchOf(MIXTURE)).toEqual(["confidence", "experts"]);
});

test("the choice outlives the page", () => {
  watching.value = { isOn: true, probes: { smollm2: "joy" } };
  expect(JSON.parse(localStorage.getItem("ouvert.watching") ?? "")).toEqual({ isOn: true, probes: { smollm2: "joy" } });
});

test("a request says what is watched where something is", () => {
  expect(requestBody({ model: "m", messages: [], watch: ["confidence"] }).ouvert).toMatchObject({ watch: ["confidence"] });
  expect(requestBody({ model: "m", messages: [] }).ouvert).not.toHaveProperty("watch");
});

test("directions of other models are not offered; those of which nobody says the model are", () => {
  const direction = { name: "joy", layers: [3], chosen: 3, width: 8 };
  expect(mayProbe(direction, DENSE)).toBe(true);
  expect(mayProbe({ ...direction, model: { name: "smollm2" } }, DENSE)).toBe(true);
  expect(mayProbe({ ...direction, model: { name: "qwen3-8b", family: "qwen3", parameters: 8 } }, DENSE)).toBe(false);
  expect(mayProbe({ ...direction, model: { name: "a-copy", family: "llama", parameters: 135 } }, DENSE)).toBe(true);
});

const piece = (place: number, id: number): Watched => ({
  index: 0,
  confidence: { places: [place], ids: [id], logprobs: [-id], entropy: [id], ranks: [id], alternative_ids: [[id, 0]], alternative_logprobs: [[-1, -2]], pieces: { [String(id)]: `t${id}` } },
  experts: { layers: [0, 2], places: [place - 1], chosen: [[[id]], [[id + 1]]], entropy: [[id / 2], [id / 4]] },
  probes: { joy: { layer: 3, threshold: 0.5, places: [place - 1], projections: [id] } },
});

test("pieces, joined list by list, are the whole", () => {
  const whole = [piece(7, 1), piece(8, 2), piece(9, 3)].reduce<Watched | undefined>(joined, undefined);
  expect(whole).toEqual({
    index: 0,
    confidence: {
      places: [7, 8, 9], ids: [1, 2, 3], logprobs: [-1, -2, -3], entropy: [1, 2, 3], ranks: [1, 2, 3], alternative_ids: [[1, 0], [2, 0], [3, 0]], alternative_logprobs: [[-1, -2], [-1, -2], [-1, -2]],
      pieces: { "1": "t1", "2": "t2", "3": "t3" },
    },
    experts: { layers: [0, 2], places: [6, 7, 8], chosen: [[[1], [2], [3]], [[2], [3], [4]]], entropy: [[0.5, 1, 1.5], [0.25, 0.5, 0.75]] },
    probes: { joy: { layer: 3, threshold: 0.5, places: [6, 7, 8], projections: [1, 2, 3] } },
  });
});

test("a piece comes before the text of its event, and those of other choices are nobody's here", () => {
  const chunk = { choices: [{ delta: { content: "a" } }], ouvert: { watched: [piece(7, 1), { ...piece(7, 1), index: 1 }] } };
  expect([...eventsOf(chunk)]).toEqual([{ kind: "watched", piece: piece(7, 1) }, { kind: "text", text: "a" }]);
});

test("what was seen is kept until its reader has seen enough", () => {
  keepWatched("a", piece(7, 1));
  keepWatched("b", undefined);
  expect([watchedOf("a"), watchedOf("b")]).toEqual([piece(7, 1), undefined]);
  forgetWatched("a");
  expect(watchedOf("a")).toBeUndefined();
});

test("a probe's meter has room for its threshold", () => {
  const probe = { layer: 3, threshold: 4, places: [1, 2], projections: [-1, 2] };
  expect(rangeOf(probe)).toEqual([-1, 4]);
  expect(rangeOf({ ...probe, threshold: null })).toEqual([-1, 2]);
});
