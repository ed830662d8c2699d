/** The reader's collections of documents: looked at, added to, updated, and deleted with a receipt. */
import { signal } from "@preact/signals";
import { addDocument, listCollections, listDocuments, removeCollection, removeDocument, updateCollection, type Changes, type CollectionRecord, type DocumentRecord } from "../server/documents";
import { papers } from "../words/documents";
import { announcement, errorText, notice, showError } from "./notices";
import { askDocuments, settings } from "./settings";
import { closePanel, panel } from "./view";

export const collections = signal<CollectionRecord[] | null>(null); // null: not known yet
/** Of collections that were looked into, by name; null: it cannot be opened, and the page said why. */
export const files = signal<ReadonlyMap<string, DocumentRecord[]>>(new Map());
export const faults = signal<ReadonlyMap<string, string>>(new Map()); // of collections

/** A file on its way into a collection. `fault`: why it is not there. */
export interface Upload {
  collection: string;
  name: string;
  fault?: string;
}

export const uploads = signal<Upload[]>([]);

export async function refreshCollections(): Promise<void> {
  try {
    collections.value = await listCollections();
    await Promise.all(collections.value.map(({ name }) => refreshFiles(name)));
  } catch (problem) {
    collections.value ??= [];
    showError(problem);
  }
}

async function refreshFiles(name: string): Promise<void> {
  const known = new Map(faults.value);
  try {
    files.value = new Map(files.value).set(name, await listDocuments(name));
    known.delete(name);
  } catch (problem) {
    known.set(name, errorText(problem));
  }
  faults.value = known;
}

/** One after another: each is read in a box on the server. One of the same name is replaced. */
export async function addFiles(collection: string, added: Iterable<File>): Promise<void> {
  const waiting = [...added].map((file) => ({ file, upload: { collection, name: file.name } as Upload }));
  const isAgain = ({ name, collection: into }: Upload) => into === collection && waiting.some(({ upload }) => upload.name === name);
  uploads.value = [...uploads.value.filter((each) => !isAgain(each)), ...waiting.map(({ upload }) => upload)];
  for (const { file, upload } of waiting) {
    try {
      await addDocument(collection, file);
      uploads.value = uploads.value.filter((each) => each !== upload);
      announcement.value = papers.value.added(file.name, collection);
    } catch (problem) {
      uploads.value = uploads.value.map((each) => (each === upload ? { ...upload, fault: errorText(problem) } : each));
      announcement.value = `${file.name}: ${errorText(problem)}`;
    }
    await refreshCollections();
  }
}

export function forgetUpload(upload: Upload): void {
  uploads.value = uploads.value.filter((each) => each !== upload);
}

/** What changed of those that were added from the server's disk, in words. */
export async function update(collection: string): Promise<string> {
  try {
    const changes = await updateCollection(collection);
    await refreshFiles(collection);
    return (announcement.value = inWords(changes));
  } catch (problem) {
    return errorText(problem);
  }
}

function inWords({ added, changed, unchanged, missing, refused }: Changes): string {
  const say = papers.value;
  const told = [say.updated(added.length, changed.length, unchanged.length)];
  if (missing.length > 0) told.push(say.goneFromDisk(missing.join(", ")));
  return [...told, ...refused.map(say.notReadAgain)].join(" ");
}

/** For good; the receipt is shown. Without `id` all of the collection. */
export async function takeOut(collection: string, id?: string): Promise<void> {
  closePanel(); // what is deleted is not looked at meanwhile
  try {
    const receipt = await (id === undefined ? removeCollection(collection) : removeDocument(collection, id));
    if (id === undefined && settings.value.documents?.includes(collection)) askDocuments(collection, false);
    panel.value = { kind: "deletion", receipt };
    announcement.value = papers.value.deletionReceipt;
  } catch (problem) {
    notice.value = { text: errorText(problem), isError: true };
    panel.value = { kind: "documents" };
  }
  await refreshCollections();
}

/** Names that a collection may have, as the server says them. */
export const COLLECTION_NAME = "[a-z0-9][a-z0-9_.\\-]{0,63}";
