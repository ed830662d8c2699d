import { expect, test } from "vitest";
import { altKey, isComposing, isSend } from "../src/keys";

const key = (name: string, more: KeyboardEventInit & { keyCode?: number } = {}) => {
  const event = new KeyboardEvent("keydown", { key: name, ...more });
  Object.defineProperty(event, "keyCode", { value: more.keyCode ?? 13 });
  return event;
};

test("Enter that ends a composition sends nothing, in Safari too", () => {
  expect(isSend(key("Enter"))).toBe(true);
  expect(isSend(key("Enter", { shiftKey: true }))).toBe(false);
  expect(isSend(key("Enter", { isComposing: true, keyCode: 229 }))).toBe(false); // Chromium, Firefox
  expect(isSend(key("Enter", { keyCode: 229 }))).toBe(false); // Safari
  expect(isComposing(key("Escape", { keyCode: 229 }))).toBe(true);
});

test("shortcuts go by the letter on the key, and by its place where Alt writes something else", () => {
  expect(altKey(key("m", { code: "Semicolon" }))).toBe("m"); // AZERTY
  expect(altKey(key(",", { code: "KeyM" }))).toBe(",");
  expect(altKey(key("µ", { code: "KeyM" }))).toBe("m"); // macOS
  expect(altKey(key("≤", { code: "Comma" }))).toBe(",");
  expect(altKey(key("N", { code: "KeyN" }))).toBe("n");
});
