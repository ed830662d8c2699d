import { useSignal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type { CollectionRecord, DocumentRecord } from "../../server/documents";
import { addFiles, COLLECTION_NAME, collections, faults, files, forgetUpload, refreshCollections, takeOut, update, uploads, type Upload } from "../../state/library";
import { askDocuments, settings } from "../../state/settings";
import { closePanel, panel } from "../../state/view";
import { bytes, number, words } from "../../words";
import { papers } from "../../words/documents";
import { Button } from "../button";
import { Icon, Mark } from "../icons";
import { Confirmation } from "../panels/confirmation";
import { Sheet } from "../panels/sheet";

/** Which collections the conversation asks, and what is in each. */
export function DocumentsPanel() {
  const say = papers.value;
  const named = useSignal<string[]>([]); // collections that begin with their first file
  useEffect(() => void refreshCollections(), []);
  const known = collections.value ?? [];
  const fresh = named.value.filter((name) => known.every((each) => each.name !== name));
  return (
    <Sheet title={say.documents} place="centre wide" onClose={closePanel}>
      <p class="quiet">{say.explained}</p>
      {collections.value === null && <p class="quiet">{say.looking}</p>}
      {collections.value?.length === 0 && fresh.length === 0 && <p class="none-yet">{say.noCollections}</p>}
      <div class="collections">
        {known.map((each) => (
          <CollectionCard key={each.name} record={each} />
        ))}
        {fresh.map((name) => (
          <CollectionCard key={name} record={{ name, encrypted: null, created: "" }} isFresh />
        ))}
      </div>
      <NewCollection begin={(name) => (named.value = [...named.value.filter((each) => each !== name), name])} />
    </Sheet>
  );
}

function CollectionCard({ record, isFresh = false }: { record: CollectionRecord; isFresh?: boolean }) {
  const say = papers.value;
  const { name, encrypted } = record;
  const [isUnder, setUnder] = useState(false); // a file that is being dragged
  const inIt = files.value.get(name) ?? [];
  const fault = faults.value.get(name);
  const coming = uploads.value.filter((each) => each.collection === name);
  const isAsked = settings.value.documents?.includes(name) ?? false;
  return (
    <section
      class={isUnder ? "collection over" : "collection"}
      aria-label={name}
      onDragOver={(event) => {
        event.preventDefault();
        setUnder(true);
      }}
      onDragLeave={() => setUnder(false)}
      onDrop={(event) => {
        event.preventDefault();
        setUnder(false);
        void addFiles(name, event.dataTransfer?.files ?? []);
      }}
    >
      <header>
        <label class="check collection-name">
          <input type="checkbox" checked={isAsked} disabled={isFresh} aria-label={say.askThese(name)} onChange={(event) => askDocuments(name, event.currentTarget.checked)} />
          <strong>{name}</strong>
        </label>
        <small>{[say.fileCount(inIt.length), encrypted ? say.encryptedMark : say.notEncrypted].join(" · ")}</small>
        <span class="spring" />
        {!isFresh && <Button icon="trash" class="danger" label={say.removeCollectionOf(name)} onClick={() => (panel.value = { kind: "remove-document", collection: name })} />}
      </header>
      {fault && <p class="fit too_large" role="alert">{fault}</p>}
      {(inIt.length > 0 || coming.length > 0) && (
        <ul class="files" aria-label={say.filesIn(name)}>
          {inIt.map((each) => (
            <FileRow key={each.id} collection={name} file={each} />
          ))}
          {coming.map((each) => (
            <UploadRow key={each.name} upload={each} />
          ))}
        </ul>
      )}
      {inIt.length === 0 && coming.length === 0 && !fault && <p class="quiet">{say.noFiles}</p>}
      {isUnder ? <p class="drop-here">{say.dropInto(name)}</p> : <CollectionTools name={name} isFresh={isFresh} />}
    </section>
  );
}

function CollectionTools({ name, isFresh }: { name: string; isFresh: boolean }) {
  const say = papers.value;
  const input = useRef<HTMLInputElement>(null);
  const [told, setTold] = useState("");
  return (
    <div class="collection-tools">
      <span class="quiet">{say.dropFiles}</span>
      <button type="button" class="plain" aria-label={say.addFilesTo(name)} onClick={() => input.current?.click()}>
        {say.addFiles}
      </button>
      <input
        ref={input}
        type="file"
        multiple
        hidden
        aria-label={say.addFilesTo(name)}
        onChange={({ currentTarget: chosen }) => {
          const added = [...(chosen.files ?? [])];
          chosen.value = ""; // the same file may be chosen again
          void addFiles(name, added);
        }}
      />
      <span class="spring" />
      {!isFresh && (
        <button type="button" class="plain" aria-label={say.updateFilesOf(name)} onClick={() => void update(name).then(setTold)}>
          {say.updateFiles}
        </button>
      )}
      {told && <p class="told quiet">{told}</p>}
    </div>
  );
}

function FileRow({ collection, file }: { collection: string; file: DocumentRecord }) {
  const say = papers.value;
  const { id: document, name, unread } = file;
  const open = () => (panel.value = { kind: "place", place: { collection, document, name, start: 0, stop: 0 }, back: { kind: "documents" } });
  return (
    <li class="file-row">
      <Icon name="file" />
      <span class="file-facts">
        <button type="button" class="file-name" aria-label={say.openFile(name)} onClick={open}>
          {name}
        </button>
        <small>{[file.paged && say.pagesCount(file.pages), bytes(file.size), unread.length === 0 && say.stateRead].filter(Boolean).join(" · ")}</small>
        {unread.length > 0 && (
          <small class="scan-flag">
            <Icon name="warning" /> {unread.length === file.pages ? say.stateAllScans : say.stateScans(pagesInWords(unread), number(file.pages))}
          </small>
        )}
      </span>
      <Button icon="trash" class="danger" label={say.removeFile(name)} onClick={() => (panel.value = { kind: "remove-document", collection, document: { id: document, name } })} />
    </li>
  );
}

const MOST_NAMED = 8; // pages

const pagesInWords = (pages: number[]) => `${pages.slice(0, MOST_NAMED).map((each) => number(each)).join(", ")}${pages.length > MOST_NAMED ? "…" : ""}`;

function UploadRow({ upload }: { upload: Upload }) {
  const say = papers.value;
  return (
    <li class="file-row">
      {upload.fault ? <Icon name="warning" /> : <Mark breathing />}
      <span class="file-facts">
        <span class="file-name">{upload.name}</span>
        {upload.fault ? <small class="scan-flag">{`${say.stateRefused}: ${upload.fault}`}</small> : <small>{say.stateReading}</small>}
      </span>
      {upload.fault && <Button icon="close" label={words.value.dismiss} onClick={() => forgetUpload(upload)} />}
    </li>
  );
}

function NewCollection({ begin }: { begin: (name: string) => void }) {
  const say = papers.value;
  return (
    <form
      class="new-collection"
      onSubmit={(event) => {
        event.preventDefault();
        const field = event.currentTarget.elements.namedItem("collection") as HTMLInputElement;
        begin(field.value);
        field.value = "";
      }}
    >
      <h3 id="new-collection">{say.newCollection}</h3>
      <div class="row-of-buttons keep-preset">
        <input name="collection" required pattern={COLLECTION_NAME} autocomplete="off" aria-label={say.collectionName} title={say.collectionNameHint} placeholder={say.collectionNameHint} />
        <button type="submit" class="plain">
          {say.create}
        </button>
      </div>
    </form>
  );
}

export function ConfirmRemoval({ collection, document }: { collection: string; document: { id: string; name: string } | undefined }) {
  const say = papers.value;
  const back = () => (panel.value = { kind: "documents" });
  return (
    <Confirmation
      title={document ? say.removeFileQuestion(document.name) : say.removeCollectionQuestion(collection)}
      text={say.removeExplained}
      yes={words.value.delete}
      act={() => void takeOut(collection, document?.id)}
      back={back}
      isFinal
    />
  );
}
