/** How far a fetch is, what is open, and how the reader is told that it has ended. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Fetch } from "../src/server/fetches";
import { currentFetch, fetches, fetchModel, openFetches, refreshFetches, shareOf, takeAway } from "../src/state/fetching";
import { notice } from "../src/state/notices";

const fetchOf = (more: Partial<Fetch>): Fetch => ({ model: "a", state: "fetching", total_bytes: 100, arrived_bytes: 25, resumable: false, ...more });
let answers: Record<string, unknown>;
let asked: [string, string, unknown][];

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
  answers = { "/api/ui/models": { models: [] }, "/api/ui/obtainable": { models: [], context: 8192, free_bytes: 1, measuring: false } };
  vi.stubGlobal("fetch", async (path: string, { method, body }: { method: string; body?: string }) => {
    asked.push([method, path, body && JSON.parse(body)]);
    return new Response(JSON.stringify(answers[path] ?? {}));
  });
});

afterEach(() => {
  fetches.value = [];
  notice.value = null;
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a share is of what has arrived, and of the preparing while that goes on", () => {
  expect(shareOf(fetchOf({}))).toBe(0.25);
  expect(shareOf(fetchOf({ total_bytes: null }))).toBeUndefined();
  expect(shareOf(fetchOf({ state: "packing", arrived_bytes: 100, step: { name: "packing a", total_bytes: 10, done_bytes: 4 } }))).toBe(0.4);
  expect(shareOf(fetchOf({ state: "packing" }))).toBeUndefined();
});

test("what is over and here is not open; what can be gone on with, or failed, is", () => {
  fetches.value = [
    fetchOf({ model: "done", state: "done" }),
    fetchOf({ model: "left", state: "unfinished", resumable: true }),
    fetchOf({ model: "nothing came", state: "cancelled" }),
    fetchOf({ model: "broke", state: "failed", fault: "no" }),
    fetchOf({ model: "now", state: "queued" }),
  ];
  expect(openFetches.value.map(({ model }) => model)).toEqual(["left", "broke", "now"]);
  expect(currentFetch.value).toBeUndefined();
});

test("while something is under way the server is asked again and again, and the end is told once", async () => {
  answers["/api/ui/fetches"] = { fetches: [fetchOf({})] };
  await refreshFetches();
  const polls = () => asked.filter(([, path]) => path === "/api/ui/fetches").length;
  await vi.advanceTimersByTimeAsync(1100);
  expect(polls()).toBe(3);
  answers["/api/ui/fetches"] = { fetches: [fetchOf({ state: "done", arrived_bytes: 100 })] };
  await vi.advanceTimersByTimeAsync(600);
  expect(notice.value).toEqual({ text: "a is here and can be used.", isError: false });
  expect(asked.some(([, path]) => path === "/api/ui/models")).toBe(true);
  const after = polls();
  notice.value = null;
  await vi.advanceTimersByTimeAsync(5000);
  expect(polls()).toBe(after);
  expect(notice.value).toBeNull();
});

test("the hosts that were agreed to go with the request", async () => {
  answers["/api/ui/fetches"] = { fetches: [] };
  await fetchModel("org/name:Q4", ["hub.example"]);
  expect(asked[0]).toEqual(["POST", "/api/ui/fetches", { model: "org/name:Q4", hosts: ["hub.example"] }]);
});

test("a name with a slash is one part of the address", async () => {
  answers["/api/ui/fetches"] = { fetches: [] };
  answers["/api/ui/models/org%2Fname%3AQ4"] = { model: "org/name:Q4", freed_bytes: 1_500_000 };
  await takeAway("org/name:Q4");
  expect(asked[0]?.slice(0, 2)).toEqual(["DELETE", "/api/ui/models/org%2Fname%3AQ4"]);
  expect(notice.value?.text).toBe("org/name:Q4 was removed; 1.5 MB are free again.");
});
