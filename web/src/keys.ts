/** Whether a key belongs to an input method that is composing a word, as for Chinese, Japanese, Korean or Vietnamese.
 *
 * Safari ends the composition before the keydown of Enter: `isComposing` is then false, and the key code still 229. */
export const isComposing = (event: KeyboardEvent): boolean => event.isComposing || event.keyCode === 229;

/** Enter that sends: not for a new line, and not to choose a word. */
export const isSend = (event: KeyboardEvent): boolean => event.key === "Enter" && !event.shiftKey && !isComposing(event);

/** The key of a shortcut with Alt, by the letter on it: on a French keyboard "m" and "," are elsewhere.
 *
 * Where Alt writes another character (macOS), the place of the key has to do. */
export function altKey(event: KeyboardEvent): string {
  const key = event.key.toLowerCase();
  return /^[a-z,]$/.test(key) ? key : event.code === "Comma" ? "," : event.code.replace(/^Key/, "").toLowerCase();
}
