import { announcement } from "../state";
import { words } from "../words";

/** Put text on the clipboard, and say how it went. Without a secure context (a wider bind over plain HTTP) the old way. */
export async function copyText(text: string): Promise<string> {
  const said = (await copied(text)) ? words.value.copied : words.value.copyFailed;
  announcement.value = said;
  return said;
}

async function copied(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return false; // refused by the browser or its owner
    }
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "off-screen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

export function download(name: string, content: Blob | string, type = "application/json"): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A title as a file's name. */
export const fileName = (title: string, extension: string): string =>
  `${title.replace(/[^\p{L}\p{N} _-]/gu, "").trim().slice(0, 60) || "conversation"}.${extension}`;
