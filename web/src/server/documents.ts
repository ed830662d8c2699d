/** The reader's collections of documents: what is in them, adding and removing, and the places that citations lead to. */
import { json, request } from "./http";

export interface CollectionRecord {
  name: string;
  encrypted: string | null; // with what its key is made
  created: string;
}

export interface DocumentRecord {
  id: string;
  name: string;
  title: string;
  kind: string;
  size: number;
  pages: number;
  unread: number[]; // pages that are pictures
  characters: number;
  paged: boolean;
}

/** The page around characters `start` to `stop` of a document. */
export interface PlaceRecord {
  collection: string;
  document: string;
  name: string;
  page: number;
  pages: number;
  paged: boolean;
  pictured: boolean; // its pages can be drawn
  scan: boolean;
  start: number;
  stop: number;
  before: string;
  quote: string;
  after: string;
  cut: boolean; // the page is longer than what is shown
  previous: number | null; // where the page before it begins
  next: number | null;
}

export interface Changes {
  added: string[];
  changed: string[];
  unchanged: string[];
  missing: string[];
  refused: string[];
}

export interface Removed {
  document?: string;
  digest?: string;
  pages?: number;
  passages?: number;
  kept_file_bytes?: number;
  bytes?: number;
}

export interface DeletionReceipt {
  deletion: 1;
  created: string;
  collection: string;
  removed: Removed[];
  kept_prompt_pages: number | null;
  box_copies: number;
  remains: string[] | string;
}

const HERE = "/ouvert/documents";
const at = (...parts: string[]) => [HERE, ...parts.map(encodeURIComponent)].join("/");

export const listCollections = async () => (await json<{ data: CollectionRecord[] }>(request("GET", HERE))).data;
export const listDocuments = async (collection: string) => (await json<{ data: DocumentRecord[] }>(request("GET", at(collection)))).data;
/** A collection that is not there is made. */
export const addDocument = (collection: string, file: File) => json<DocumentRecord>(request("PUT", at(collection, file.name), file));
export const updateCollection = (collection: string) => json<Changes>(request("POST", at(collection, "update")));
export const removeDocument = (collection: string, id: string) => json<DeletionReceipt>(request("DELETE", at(collection, id)));
export const removeCollection = (collection: string) => json<DeletionReceipt>(request("DELETE", at(collection)));

export const getPlace = (collection: string, document: string, start: number, stop: number) =>
  json<PlaceRecord>(request("GET", at(collection, document, "places", `${start}-${stop}`)));

/** The page as a picture, with the place marked. */
export async function getPicture({ collection, document, page, start, stop }: PlaceRecord): Promise<ImageBitmap> {
  const marked = stop > start ? `?chars=${start}-${stop}` : "";
  return createImageBitmap(await (await request("GET", `${at(collection, document, "pages", String(page))}${marked}`)).blob());
}
