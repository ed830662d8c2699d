import { describe, expect, test } from "vitest";
import { CHIP, CHIP_END, citationOf, distinct, placed, withChips, type Citation } from "../src/citations";
import { renderBlock, type Chips } from "../src/markdown";

const URL_OF = "http://127.0.0.1:1/ouvert/documents/my%20papers/0123456789abcdef#page=8&chars=1146-1222";
const at = (text: string, mark: string, more: object = {}): Citation => {
  const start = [...text.slice(0, text.indexOf(mark))].length;
  const found = citationOf({ start_index: start, end_index: start + mark.length, title: "lease.pdf, page 8", url: URL_OF, ...more }, text);
  if (!found) throw new Error("no citation");
  return found;
};

describe("a citation", () => {
  test("is read from the annotation of the protocol: document, page and characters", () => {
    expect(at("It is due [1].", "[1]")).toEqual({
      mark: "1", first: 10, last: 13, collection: "my papers", document: "0123456789abcdef", name: "lease.pdf", page: 8, paged: true, start: 1146, stop: 1222,
    });
    expect(at("[1]", "[1]", { title: "notes.md" })).toMatchObject({ name: "notes.md", paged: false });
    expect(citationOf({ start_index: 0, end_index: 3, title: "x", url: "https://elsewhere.test/page" }, "[1]")).toBeNull();
  });

  test("stands where it stands among characters that take two code units", () => {
    const text = "𝒜 👩‍🚀 [2] 🙂";
    const { first, last } = at(text, "[2]");
    expect(text.slice(first, last)).toBe("[2]");
  });

  test("of a run's record is the same", () => {
    const text = "Yes [1].";
    const place = { mark: "[1]", start_index: 4, end_index: 7, collection: "c", document: "d", name: "n", page: 1, paged: false, start: 2, stop: 3 };
    expect(placed(place, text)).toMatchObject({ mark: "1", first: 4, last: 7, start: 2 });
  });

  test("is listed once, however often it is cited", () => {
    const text = "A [1]. B [1]. C [2].";
    const one = at(text, "[1]");
    expect(distinct([one, { ...one, first: 9, last: 12 }, { ...one, start: 5, mark: "2" }]).map(({ mark }) => mark)).toEqual(["1", "2"]);
  });
});

describe("chips", () => {
  const chips: Chips = { cited: [{ mark: "1", title: 'le"ase.pdf, page 8' }, { mark: "1", title: "again" }], source: "Source", nowhere: { mark: "unsupported", title: "Nowhere." } };
  const labels = { copy: "Copy", imageNotLoaded: "Image" };
  const shown = (text: string, citations: Citation[]) => {
    const box = document.createElement("div");
    box.innerHTML = renderBlock(withChips(text, citations), labels, "", false, chips);
    return box;
  };

  test("are buttons that say where they lead; a mark that leads nowhere is no button", () => {
    const text = "It is **due [1]**, not [unsupported].";
    const box = shown(text, [at(text, "[1]")]);
    const button = box.querySelector("button.cite");
    expect(button?.className).toBe("cite cite-0");
    expect([button?.textContent, button?.getAttribute("title")]).toEqual(["Source 1", 'le"ase.pdf, page 8']);
    expect(box.querySelector("strong button")).not.toBeNull();
    expect([...box.querySelectorAll(".unsupported")].map((each) => each.textContent)).toEqual(["unsupported"]);
    expect(box.textContent?.trim()).toBe("It is due Source 1, not unsupported.");
  });

  test("are not made of what a model writes, be it a mark nobody resolved, HTML or our own signs", () => {
    const forged = `[1] <button class="cite cite-0">1</button> ${CHIP}0${CHIP_END} \ue0020\ue003`;
    const box = shown(forged, []);
    expect(box.querySelectorAll("button, .unsupported").length).toBe(0);
    expect(box.textContent).toContain('<button class="cite cite-0">');
  });

  test("do not break code or addresses", () => {
    const text = "`x[1]` and [a](http://a.test/[1])";
    const first = at(text, "[1]");
    const second = { ...first, first: text.lastIndexOf("[1]"), last: text.lastIndexOf("[1]") + 3 };
    const box = shown(text, [first, second]);
    expect(box.querySelector("code")?.textContent).toBe("x[1]");
    expect(box.querySelector("a")?.getAttribute("href")).toBe("http://a.test/[1]");
    expect(box.querySelector("button")).toBeNull();
  });

  test("of an answer that was cut off before its mark are left out", () => {
    const text = "It is due [1].";
    expect(withChips(text.slice(0, 8), [at(text, "[1]")])).toBe("It is du");
  });
});
