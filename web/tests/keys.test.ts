import { expect, test } from "vitest";
import { altKey, isComposing, isSend } from "../src/keys";
import { whereIs } from "../src/where";

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

test("what is promised depends on where the page is opened", () => {
  const [near, far, safe] = ["http://127.0.0.1:11435", "http://192.168.1.5:11435", "https://server.example"].map((each) => new URL(each)) as [URL, URL, URL];
  expect(whereIs("this_machine", near)).toBe("here");
  expect(whereIs("network_plain", far)).toBe("open");
  expect(whereIs("network_plain", safe)).toBe("encrypted"); // the proxy does not say so, the address does
  expect(whereIs("network_tls", far)).toBe("open"); // encrypted behind the proxy, but not to it
  expect(whereIs("unknown", near)).toBe("unknown");
  expect(["http://127.evil.test", "http://localhost.evil.test"].map((each) => whereIs("unknown", new URL(each)))).toEqual(["open", "open"]);
  expect([near, far].map((each) => whereIs(undefined, each))).toEqual(["unknown", "unknown"]);
});
