import { announcement } from "../state/notices";
import { words } from "../words";

/** Put text on the clipboard; announce and return how it went. */
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
  // Without a secure context (another machine, over plain HTTP) browsers offer only the old way.
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "off-screen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
