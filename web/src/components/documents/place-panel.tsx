import { useEffect, useRef, useState } from "preact/hooks";
import { getPicture, getPlace, type PlaceRecord } from "../../server/documents";
import { errorText } from "../../state/notices";
import { closePanel, panel, type CitedPlace, type Panel } from "../../state/view";
import { number } from "../../words";
import { papers } from "../../words/documents";
import { Button } from "../button";
import { Mark } from "../icons";
import { Sheet } from "../panels/sheet";

const MARK = [255, 225, 80]; // the colour that the server marks with (documents/reader/pdf.py)

/** The page of a document, with the cited words marked: its picture where it has one, and its text. */
export function PlacePanel({ place, back }: { place: CitedPlace; back: Panel | undefined }) {
  const [at, setAt] = useState({ start: place.start, stop: place.stop });
  const [found, setFound] = useState<PlaceRecord>();
  const [fault, setFault] = useState("");
  useEffect(() => {
    setFault("");
    getPlace(place.collection, place.document, at.start, at.stop).then(setFound, (problem: unknown) => setFault(errorText(problem)));
  }, [at]);
  const turn = (to: number | null) => to !== null && setAt({ start: to, stop: to });
  const close = () => (back ? (panel.value = back) : closePanel());
  return (
    <Sheet title={found?.name ?? place.name} place="centre wide" onClose={close}>
      {fault && <p class="fit too_large" role="alert">{fault}</p>}
      {!found && !fault && (
        <p class="waiting">
          <Mark breathing /> {papers.value.openingPage}
        </p>
      )}
      {found && <Page key={`${found.start}-${found.stop}`} place={found} turn={turn} />}
    </Sheet>
  );
}

function Page({ place, turn }: { place: PlaceRecord; turn: (to: number | null) => void }) {
  const say = papers.value;
  return (
    <div class="page-of-document">
      {place.pages > 1 && (
        <div class="page-turner">
          <Button icon="left" label={say.previousPage} disabled={place.previous === null} onClick={() => turn(place.previous)} />
          <span role="status">{say.pageOf(number(place.page), number(place.pages))}</span>
          <Button icon="right" label={say.nextPage} disabled={place.next === null} onClick={() => turn(place.next)} />
        </div>
      )}
      {place.quote && <blockquote class="cited-words">{place.quote}</blockquote>}
      {place.scan && <p class="scan-note">{say.pageIsScan}</p>}
      {place.pictured && <Picture place={place} />}
      {place.pictured ? (
        !place.scan && (
          <details class="page-text-folded">
            <summary>{say.pageText}</summary>
            <PageText place={place} />
          </details>
        )
      ) : (
        <PageText place={place} />
      )}
    </div>
  );
}

/** Drawn on a canvas: the page's policy lets in no picture but the server's own files, and this one may need a key. */
function Picture({ place }: { place: PlaceRecord }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [fault, setFault] = useState("");
  const [isDrawn, setDrawn] = useState(false);
  useEffect(() => {
    let isGone = false;
    getPicture(place).then(
      (picture) => {
        if (isGone || !canvas.current) return;
        const marked = draw(canvas.current, picture);
        setDrawn(true);
        if (marked !== null) requestAnimationFrame(() => canvas.current && scrollTo(canvas.current, marked));
      },
      (problem: unknown) => setFault(errorText(problem)),
    );
    return () => (isGone = true);
  }, []);
  const say = papers.value;
  const page = number(place.page);
  const label = place.quote ? say.pictureMarked(place.name, page, place.quote) : say.pictureOf(place.name, page);
  return (
    <>
      {fault && <p class="fit too_large" role="alert">{fault}</p>}
      {!isDrawn && !fault && (
        <p class="waiting">
          <Mark breathing /> {say.openingPage}
        </p>
      )}
      <canvas ref={canvas} class="page-picture" role="img" aria-label={label} hidden={!isDrawn} />
    </>
  );
}

/** Returns how far down the first marked words stand, from 0 to 1; null where nothing is marked. */
function draw(canvas: HTMLCanvasElement, picture: ImageBitmap): number | null {
  [canvas.width, canvas.height] = [picture.width, picture.height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return null;
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  for (let n = 0; n < data.length; n += 4) {
    if (MARK.every((value, part) => data[n + part] === value)) return n / 4 / picture.width / picture.height;
  }
  return null;
}

function scrollTo(canvas: HTMLCanvasElement, marked: number): void {
  const sheet = canvas.closest("dialog");
  if (!sheet) return;
  const at = canvas.getBoundingClientRect().top + marked * canvas.getBoundingClientRect().height;
  const top = at - sheet.getBoundingClientRect().top - sheet.clientHeight / 2;
  if (top > 0) sheet.scrollTop += top;
}

function PageText({ place }: { place: PlaceRecord }) {
  const marked = useRef<HTMLElement>(null);
  useEffect(() => marked.current?.scrollIntoView({ block: "center" }), []);
  return (
    <>
      <div class="page-text" role="region" aria-label={papers.value.pageText} tabindex={0}>
        {place.before}
        {place.quote && <mark ref={marked}>{place.quote}</mark>}
        {place.after}
      </div>
      {place.cut && <p class="quiet">{papers.value.onlyAround}</p>}
    </>
  );
}

