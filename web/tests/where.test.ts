import { expect, test } from "vitest";
import { whereIs } from "../src/where";

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
