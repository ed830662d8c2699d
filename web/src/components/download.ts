const FETCHED_WITHIN = 10_000; // milliseconds

/** Hand a file to the reader, as the browser hands over files. */
export function download(name: string, content: Blob | string, type = "application/json"): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), FETCHED_WITHIN);
}

/** A title as a file's name. */
export const fileName = (title: string, extension: string): string =>
  `${title.replace(/[^\p{L}\p{N} _-]/gu, "").trim().slice(0, 60) || "conversation"}.${extension}`;
