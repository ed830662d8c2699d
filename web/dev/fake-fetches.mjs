/** What the stand-in knows of models that can be fetched: a table, and fetches that go as far as a test lets them. */

const offer = (id, more) => ({
  id,
  source: `hf:org/${id}`,
  licence: "Apache-2.0",
  family: "qwen2",
  parameters: 1_540_000_000,
  form: "Q4_K_M",
  toy: false,
  hosts: ["huggingface.co", "PyPI"],
  bytes_to: { fetch: 1_117_320_768, store: 2_234_641_536, run: 1_700_000_000 },
  exact: true,
  fit: { state: "fits", needs_bytes: 1_700_000_000, available_bytes: 21_000_000_000 },
  tokens_per_second: { writes: [12, 21], reads: [60, 150] },
  here: false,
  ...more,
});

export const OFFERS = [
  offer("qwen2.5-coder:1.5b", {}),
  offer("qwen2.5:0.5b", { toy: true, exact: false, hosts: ["huggingface.co"], parameters: 494_000_000, bytes_to: { fetch: 990_000_000, store: 1_280_000_000, run: 800_000_000 } }),
  offer("llama3.3:70b", { licence: "Llama 3.3 Community License", fit: { state: "too_large", needs_bytes: 43_000_000_000, available_bytes: 21_000_000_000 }, bytes_to: { fetch: 42_000_000_000, store: 84_000_000_000, run: 43_000_000_000 } }),
  offer("huge:1t", { bytes_to: { fetch: 600_000_000_000, store: 1_200_000_000_000, run: 700_000_000 } }),
];

export const makeFetches = () => ({ offers: OFFERS.map((each) => ({ ...each })), list: [], begun: [], removed: [], freeBytes: 200_000_000_000, measuring: false });

/** The status and the body for a request about models that are fetched and removed; undefined for any other. */
export function fetchRoute(state, method, path, body) {
  const { fetches } = state;
  const name = decodeURIComponent(path.split("/").slice(4).join("/"));
  if (path === "/api/ui/obtainable") return [200, { models: fetches.offers, context: 8192, free_bytes: fetches.freeBytes, memory_bytes: 21_000_000_000, measuring: fetches.measuring }];
  if (path === "/api/ui/fetches" && method === "GET") return [200, { fetches: fetches.list }];
  if (path === "/api/ui/fetches") return begin(fetches, body);
  if (path.startsWith("/api/ui/fetches/")) {
    const found = fetches.list.find((each) => each.model === name);
    Object.assign(found, { state: "cancelled", resumable: true });
    return [200, found];
  }
  if (path.startsWith("/api/ui/models/")) {
    fetches.removed.push(name);
    fetches.list = fetches.list.filter((each) => each.model !== name);
    state.models = state.models.filter((each) => each.id !== name);
    return [200, { model: name, freed_bytes: 98_000_000, files: 2 }];
  }
  return undefined;
}

function begin(fetches, { model, hosts }) {
  const found = fetches.offers.find((each) => each.id === model);
  if (JSON.stringify(found?.hosts) !== JSON.stringify(hosts)) return [409, { error: { message: "other hosts", code: "hosts_not_agreed" } }];
  const before = fetches.list.find((each) => each.model === model);
  const begun = { model, state: "fetching", source: found.source, hosts, total_bytes: found.bytes_to.fetch, arrived_bytes: before?.arrived_bytes ?? 0, resumable: false, said: [] };
  fetches.begun.push({ model, hosts });
  fetches.list = [...fetches.list.filter((each) => each.model !== model), begun];
  return [202, begun];
}
