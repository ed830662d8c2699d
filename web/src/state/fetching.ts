/** Models that are fetched and removed, and how far a fetch is. What a fetch asks is agreed to before it begins. */
import { computed, effect, signal } from "@preact/signals";
import { beginFetch, giveUpFetch, listFetches, listOffers, removeModel, type Fetch, type FetchState, type Offer, type Offers } from "../server/fetches";
import { bytes, words } from "../words";
import { refreshModels } from "./models";
import { announcement, notice, showError } from "./notices";
import { isOwner } from "./session";

const LOOK_MILLISECONDS = 500;
const UNDER_WAY: FetchState[] = ["queued", "fetching", "packing", "stopping", "elsewhere"];

export const offers = signal<Offers | null>(null); // null: not known yet
export const fetches = signal<Fetch[]>([]);

export const isUnderWay = ({ state }: Fetch): boolean => UNDER_WAY.includes(state);
/** What the reader has to do with: not what is over and here. */
export const openFetches = computed(() => fetches.value.filter((each) => each.state !== "done" && (isUnderWay(each) || each.resumable || each.fault)));
/** The one whose bytes are coming in. */
export const currentFetch = computed(() => fetches.value.find(({ state }) => ["fetching", "packing", "elsewhere"].includes(state)));

/** What has arrived, from 0 to 1; while a model is prepared, how much of that is done. Undefined while nobody knows. */
export function shareOf({ state, step, total_bytes, arrived_bytes }: Fetch): number | undefined {
  if (state === "packing") return step?.total_bytes ? step.done_bytes / step.total_bytes : undefined;
  return total_bytes ? arrived_bytes / total_bytes : undefined;
}

/** The model that an unfinished fetch is of, as the list of those that can be fetched has it. */
export const offerOf = (id: string): Offer | undefined => offers.value?.models.find((each) => each.id === id);

export async function refreshOffers(): Promise<void> {
  try {
    offers.value = await listOffers();
  } catch (problem) {
    showError(problem);
  }
}

export async function refreshFetches(): Promise<void> {
  const before = fetches.value;
  try {
    fetches.value = await listFetches();
  } catch (problem) {
    fetches.value = []; // or it would be asked for again and again
    showError(problem);
    return;
  }
  for (const each of fetches.value) {
    const earlier = before.find(({ model }) => model === each.model);
    if (earlier && isUnderWay(earlier) && !isUnderWay(each)) tellHowItEnded(each);
  }
}

function tellHowItEnded({ model, state, fault }: Fetch): void {
  const say = words.value;
  if (state === "done") void Promise.all([refreshModels(), refreshOffers()]);
  const text = state === "done" ? say.fetched(model) : state === "failed" ? say.fetchFailed(model, fault ?? "") : say.fetchStopped(model);
  announcement.value = text;
  if (state !== "cancelled") notice.value = { text, isError: state === "failed" };
}

// While something is under way the server is asked how far it is.
let timer: ReturnType<typeof setTimeout> | undefined;
effect(() => {
  clearTimeout(timer);
  if (fetches.value.some(isUnderWay)) timer = setTimeout(() => void refreshFetches(), LOOK_MILLISECONDS);
});

/** Once the page knows who its reader is: a fetch may be under way, or be left from before. */
export async function lookForFetches(): Promise<void> {
  if (isOwner.value) await refreshFetches();
}

/** Fetch it, or go on with it, from those hosts and no others. */
export const fetchModel = (model: string, hosts: string[]) => changing(() => beginFetch(model, hosts), words.value.fetchBegins(model));

export const stopFetching = (model: string) => changing(() => giveUpFetch(model), words.value.fetchStates.stopping ?? "");

async function changing(change: () => Promise<unknown>, said: string): Promise<void> {
  try {
    await change();
    announcement.value = said;
  } catch (problem) {
    showError(problem);
  }
  await refreshFetches();
}

/** From the disk of the server; of a fetch that is not finished, what has arrived. */
export async function takeAway(model: string): Promise<void> {
  try {
    const { freed_bytes } = await removeModel(model);
    notice.value = { text: words.value.removed(model, bytes(freed_bytes)), isError: false };
  } catch (problem) {
    showError(problem);
  }
  await Promise.all([refreshModels(), refreshFetches(), refreshOffers()]);
}
