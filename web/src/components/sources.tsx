import { distinct } from "../citations";
import type { Message } from "../conversation";
import { numberAt } from "../receipt";
import { panel } from "../state/view";
import { papers } from "../words/documents";
import { placeInWords } from "./answer-text";
import { Icon } from "./icons";

/** Under an answer from documents: what was asked and read, and each place that is cited. */
export function Sources({ message }: { message: Message }) {
  const say = papers.value;
  const places = distinct(message.citations ?? []);
  if (!message.documents && places.length === 0) return null;
  return (
    <div class="sources">
      {places.length > 0 && (
        <ul aria-label={say.sources}>
          {places.map((each, n) => (
            <li key={n}>
              <button type="button" class="source" onClick={() => (panel.value = { kind: "place", place: each })}>
                <span class="source-mark">{each.mark}</span>
                <Icon name="file" />
                <span>{placeInWords(each)}</span>
              </button>
            </li>
          ))}
        </ul>
      )}
      {message.documents && <p class="quiet">{whatWasRead(message, message.documents)}</p>}
    </div>
  );
}

function whatWasRead({ receipt, citations, ended }: Message, asked: string[]): string {
  const say = papers.value;
  const told = [say.askedOf(asked.join(", "))];
  const read = receipt?.documents as { whole?: boolean; passages?: unknown[] } | undefined;
  if (receipt && !read?.passages?.length) told.push(say.foundNothing);
  else if (read) told.push(read.whole ? say.readWhole : say.readPassages(read.passages?.length ?? 0));
  const invented = (receipt && numberAt(receipt, "citations", "invented")) ?? 0;
  if (invented > 0) told.push(say.inventedCount(invented));
  const isAbsent = (receipt?.citations as { absent?: boolean } | undefined)?.absent;
  if (read?.passages?.length && !citations?.length && !isAbsent && ended !== "error") told.push(say.citedNothing);
  return told.join(" ");
}
