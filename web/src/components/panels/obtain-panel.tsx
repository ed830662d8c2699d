import { useEffect } from "preact/hooks";
import type { Fetch, Offer, Offers } from "../../server/fetches";
import type { ModelRecord } from "../../server/models";
import { isUnderWay, offerOf, offers, openFetches, refreshFetches, refreshOffers, shareOf, stopFetching } from "../../state/fetching";
import { models, refreshModels } from "../../state/models";
import { closePanel, panel } from "../../state/view";
import { bytes, compact, duration, number, percent, precise, words } from "../../words";
import { FitInMemory } from "./models-panel";
import { Sheet } from "./sheet";

const MEASURING_MILLISECONDS = 1500;

/** For the owner: what is being fetched, what can be, and what is here and can be removed. */
export function ObtainPanel() {
  const say = words.value;
  useEffect(() => void Promise.all([refreshModels(), refreshFetches(), refreshOffers()]), []);
  useEffect(() => {
    if (!offers.value?.measuring) return;
    const timer = setTimeout(() => void refreshOffers(), MEASURING_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [offers.value]);
  const removable = models.value?.filter((each) => each.removable) ?? [];
  return (
    <Sheet title={say.otherModels} place="centre wide" onClose={closePanel}>
      <p class="quiet">{say.obtainHint}</p>
      {openFetches.value.length > 0 && (
        <section>
          <h3>{say.fetchesTitle}</h3>
          <ul class="cards">
            {openFetches.value.map((each) => (
              <FetchCard key={each.model} fetch={each} />
            ))}
          </ul>
        </section>
      )}
      <OffersSection known={offers.value} />
      {removable.length > 0 && (
        <section>
          <h3>{say.onThisMachine}</h3>
          <ul class="cards">
            {removable.map((each) => (
              <HereCard key={each.id} record={each} />
            ))}
          </ul>
        </section>
      )}
    </Sheet>
  );
}

function FetchCard({ fetch }: { fetch: Fetch }) {
  const say = words.value;
  const { model, state, fault } = fetch;
  const share = shareOf(fetch);
  return (
    <li class="card">
      <span class="choice-text">
        <strong>{model}</strong>
        <small>{progressOf(fetch)}</small>
        {isUnderWay(fetch) && <progress aria-label={say.fetchingLine(model, "")} {...(share === undefined ? {} : { value: share })} />}
        {state === "failed" && fault && <small class="fit too_large">{fault}</small>}
      </span>
      <FetchButtons fetch={fetch} />
    </li>
  );
}

function FetchButtons({ fetch }: { fetch: Fetch }) {
  const say = words.value;
  const { model, state, total_bytes, arrived_bytes } = fetch;
  const { source = "", hosts = [] } = fetch;
  const licence = offerOf(model)?.licence;
  const size = total_bytes === null ? null : total_bytes - arrived_bytes;
  if (state === "queued" || state === "fetching" || state === "packing") {
    return (
      <button type="button" class="plain" aria-label={say.about(say.stopFetching, model)} onClick={() => void stopFetching(model)}>
        {say.stopFetching}
      </button>
    );
  }
  if (isUnderWay(fetch)) return null;
  return (
    <span class="column-of-buttons">
      <button
        type="button"
        class="plain"
        aria-label={say.about(say.goOn, model)}
        onClick={() => (panel.value = { kind: "fetch", model, source, hosts, size, ...(licence ? { licence } : {}) })}
      >
        {say.goOn}
      </button>
      {fetch.resumable && (
        <button type="button" class="plain danger" aria-label={say.about(say.discard, model)} onClick={() => (panel.value = { kind: "discard", model, size: arrived_bytes })}>
          {say.discard}
        </button>
      )}
    </span>
  );
}

function progressOf(fetch: Fetch): string {
  const say = words.value;
  const { state, total_bytes, arrived_bytes, bytes_per_second, seconds_left } = fetch;
  const share = shareOf(fetch);
  const doing = say.fetchStates[state] ?? "";
  if (state === "packing") return share === undefined ? doing : `${doing}, ${percent(share)}`;
  if (state === "queued") return doing;
  const arrived = total_bytes === null ? bytes(arrived_bytes) : say.arrivedOf(bytes(arrived_bytes), bytes(total_bytes));
  const facts = [doing, arrived, bytes_per_second && say.perSecond(bytes(bytes_per_second)), seconds_left !== undefined && say.timeLeft(duration(Math.ceil(seconds_left)))];
  return facts.filter(Boolean).join(" · ");
}

function OffersSection({ known }: { known: Offers | null }) {
  const say = words.value;
  if (!known) return <p class="quiet">{say.lookingForOffers}</p>;
  const open = new Set(openFetches.value.map(({ model }) => model));
  const left = known.models.filter((each) => !each.here && !open.has(each.id));
  const isTooLarge = ({ fit }: Offer) => fit?.state === "too_large";
  const tooLarge = left.filter(isTooLarge);
  return (
    <section>
      <h3>{say.canBeFetched}</h3>
      <p class="quiet">{say.offersHint(number(known.context), bytes(known.free_bytes))}</p>
      <OfferCards offers={left.filter((each) => !isTooLarge(each))} known={known} />
      {tooLarge.length > 0 && (
        <details class="too-large-offers">
          <summary>{say.tooLargeHere(tooLarge.length)}</summary>
          <OfferCards offers={tooLarge} known={known} />
        </details>
      )}
    </section>
  );
}

function OfferCards({ offers: shown, known }: { offers: Offer[]; known: Offers }) {
  return (
    <ul class="cards">
      {shown.map((each) => (
        <OfferCard key={each.id} offer={each} known={known} />
      ))}
    </ul>
  );
}

function OfferCard({ offer, known }: { offer: Offer; known: Offers }) {
  const say = words.value;
  const { id, source, hosts, licence, parameters, form, toy, bytes_to, exact, fit } = offer;
  const size = (count: number) => (exact ? bytes(count) : say.aboutSize(bytes(count)));
  const hasRoom = bytes_to.store <= known.free_bytes;
  return (
    <li class="card">
      <span class="choice-text">
        <strong>{id}</strong>
        <small>{[licence, say.parametersOf(compact(parameters)), form].join(" · ")}</small>
        <small>{say.sizesOf(size(bytes_to.fetch), size(bytes_to.store), size(bytes_to.run))}</small>
        <small>{speedOf(offer, known)}</small>
        {toy && <small class="toy">{say.toyChoice}</small>}
        {fit && <FitInMemory fit={fit} />}
        {!hasRoom && <small class="fit too_large">{say.noRoomFor(bytes(bytes_to.store), bytes(known.free_bytes))}</small>}
      </span>
      <button
        type="button"
        class="plain"
        aria-label={say.about(say.fetch, id)}
        disabled={!hasRoom}
        onClick={() => (panel.value = { kind: "fetch", model: id, source, hosts, size: bytes_to.fetch, licence })}
      >
        {say.fetch}
      </button>
    </li>
  );
}

function speedOf({ tokens_per_second: speed, from_disk: disk }: Offer, { measuring }: Offers): string {
  const say = words.value;
  if (disk) return say.speedFromDisk(bytes(disk.memory_bytes), range(disk.writes), range(disk.reads));
  if (!speed) return measuring ? say.speedMeasured : say.speedUnknown;
  return say.speedOf(range(speed.writes), range(speed.reads));
}

const range = ([least, most]: [number, number]) => words.value.fromTo(precise(least), precise(most));

function HereCard({ record }: { record: ModelRecord }) {
  const say = words.value;
  const { id, size_bytes = 0 } = record;
  return (
    <li class="card">
      <span class="choice-text">
        <strong>{id}</strong>
        <small>{bytes(size_bytes)}</small>
      </span>
      <button type="button" class="plain danger" aria-label={say.about(say.remove, id)} onClick={() => (panel.value = { kind: "remove", model: id, size: size_bytes })}>
        {say.remove}
      </button>
    </li>
  );
}
