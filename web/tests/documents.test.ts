import { expect, test } from "vitest";
import { beginning, comingFormat, decodeText, longestThatFits } from "../src/documents";

test("text is read whatever its encoding says, and what is no text is refused", () => {
  const utf8 = new TextEncoder();
  const read = (bytes: Uint8Array) => decodeText(bytes)?.text;
  expect(read(utf8.encode("é\r\nb\rc"))).toBe("é\nb\nc");
  expect(read(utf8.encode("\uFEFFa"))).toBe("a");
  expect(read(new Uint8Array([255, 254, 0x41, 0, 0xe9, 0]))).toBe("Aé");
  expect(read(new Uint8Array([254, 255, 0, 0x41]))).toBe("A");
  expect(decodeText(new Uint8Array([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]))).toBeNull();
  expect(decodeText(utf8.encode("a\0b"))).toBeNull();
  expect(decodeText(new Uint8Array())).toEqual({ text: "", isGuess: false });
  expect(decodeText(utf8.encode("Prénom"))?.isGuess).toBe(false);
});

test("a CSV of a spreadsheet in Windows-1252 is read, and said to be a guess", () => {
  const prenom = new Uint8Array([...Buffer.from("Pr"), 0xe9, ...Buffer.from("nom;Prix\r\nNo"), 0xeb, ...Buffer.from("l;3")]); // "€" is read in the browser's test: Node's own decoder does not know it
  expect(decodeText(prenom)).toEqual({ text: "Prénom;Prix\nNoël;3", isGuess: true });
  expect(decodeText(new Uint8Array([0xe9, 0x81]))).toBeNull(); // means nothing in Windows-1252
  expect(decodeText(new Uint8Array([0xe9, 0x07]))).toBeNull(); // a control character
  expect(decodeText(new Uint8Array([255, 254, 0x41]))).toBeNull(); // says UTF-16 and is not
});

test("PDF and Office files are known by their content, whatever they are called", () => {
  const bytes = (...start: number[]) => new Uint8Array([...start, 0, 1, 2]);
  const zip = bytes(0x50, 0x4b, 3, 4);
  expect(comingFormat(bytes(0x25, 0x50, 0x44, 0x46), "no-ending")).toBe("PDF");
  expect(["a.docx", "b.XLSX", "c.odt"].map((name) => comingFormat(zip, name))).toEqual(["DOCX", "XLSX", "ODT"]);
  expect(comingFormat(zip, "photos.zip")).toBeNull();
  expect(comingFormat(bytes(0xd0, 0xcf, 0x11, 0xe0), "old")).toBe("Office");
  expect(comingFormat(bytes(0x89, 0x50), "picture.docx")).toBeNull();
});

test("a cut never halves a character", () => {
  expect(beginning("a😀b", 2)).toBe("a");
  expect(beginning("a😀b", 3)).toBe("a😀");
});

test("the longest part that fits is found in few questions", async () => {
  const document = { name: "a", text: "x".repeat(100_000) };
  let asked = 0;
  const fits = (most: number) => async ({ text }: { text: string }) => {
    asked += 1;
    return text.length <= most;
  };
  const kept = await longestThatFits(document, fits(31_234));
  expect(kept?.text.length).toBeLessThanOrEqual(31_234);
  expect(kept?.text.length).toBeGreaterThan(31_234 - 60);
  expect(asked).toBeLessThan(15);
  expect(await longestThatFits(document, fits(-1))).toBeNull();
});
