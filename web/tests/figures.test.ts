import { render } from "preact";
import { h } from "preact";
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Bars } from "../src/figures/bars";
import { cividis, luminance } from "../src/figures/cividis";
import { Figure } from "../src/figures/figure";
import { Grid, type Cell } from "../src/figures/grid";
import { Line, pathOf } from "../src/figures/line";
import { TokenText } from "../src/figures/token-text";

let box: HTMLElement;
const draw = (view: Parameters<typeof render>[0]) => act(() => render(view, box));
const press = (key: string, more: KeyboardEventInit = {}) =>
  act(() => void document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more })));

beforeEach(() => {
  box = document.createElement("div");
  document.body.append(box);
});
afterEach(() => {
  render(null, box);
  box.remove();
});

const numbers = (colour: string) => (colour.match(/\d+/g) ?? []).map(Number);
const contrast = (a: number, b: number) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);

describe("shares as lightness", () => {
  const shares = Array.from({ length: 101 }, (_, n) => n / 100);

  test("more is always lighter, whatever colours one sees", () => {
    const light = shares.map((share) => luminance(numbers(cividis(share).background)));
    expect(light.every((each, n) => n === 0 || each > (light[n - 1] ?? 1))).toBe(true);
  });

  test("what is written on it can be read: 4.5 to 1 or more", () => {
    const ratios = shares.map((share) => {
      const { background, ink } = cividis(share);
      return contrast(luminance(numbers(background)), ink === "#ffffff" ? 1 : 0);
    });
    expect(Math.min(...ratios)).toBeGreaterThanOrEqual(4.5);
  });

  test("a share outside is drawn as the nearer end", () => {
    expect([cividis(-1), cividis(2)]).toEqual([cividis(0), cividis(1)]);
    expect(cividis(1).background).toBe("rgb(254 232 56)");
  });
});

describe("a grid", () => {
  const cell = (row: number, column: number): Cell => ({ text: `${row}.${column}`, share: 0.5, said: `row ${row}, column ${column}: 50 %` });
  const names = (letter: string, all: number) => Array.from({ length: all }, (_, n) => `${letter}${n}`);
  const focused = () => document.activeElement?.textContent;
  const readout = () => box.querySelector("[role=status]")?.textContent;

  test("is one stop for Tab; arrow keys, Home, End and Page move inside and stop at its edges; a live region says where one is", () => {
    draw(h(Grid, { name: "g", rows: names("r", 12), columns: names("c", 5), cell }));
    expect(box.querySelectorAll("[tabindex='0']").length).toBe(1);
    (box.querySelector("[tabindex='0']") as HTMLElement).focus();
    const places = ["ArrowRight", "ArrowDown", "End", "ArrowRight", "PageDown", "PageDown", "ArrowUp", "Home", "ArrowLeft", "PageUp"].map((key) => {
      press(key);
      return focused();
    });
    expect(places).toEqual(["0.1", "1.1", "1.4", "1.4", "9.4", "11.4", "10.4", "10.0", "10.0", "2.0"]);
    press("End", { ctrlKey: true });
    expect([focused(), readout()]).toEqual(["11.4", "row 11, column 4: 50 %"]);
    press("Home", { ctrlKey: true });
    expect(focused()).toBe("0.0");
    expect(box.querySelectorAll("[tabindex='0']").length).toBe(1);
  });

  test("of many columns draws some, and the arrow keys go through all of them", () => {
    const asked = new Set<number>();
    const counted = (row: number, column: number) => (asked.add(column), cell(row, column));
    draw(h(Grid, { name: "g", rows: names("r", 2), columns: names("c", 500), cell: counted, at: { row: 0, column: 39 } }));
    expect(asked.size).toBe(40);
    (box.querySelector("[tabindex='0']") as HTMLElement).focus();
    press("ArrowRight");
    expect(focused()).toBe("0.40");
    expect(box.querySelector("[role=grid]")?.getAttribute("aria-colcount")).toBe("501");
    press("End");
    expect([focused(), document.activeElement?.getAttribute("aria-colindex")]).toEqual(["0.499", "501"]);
    expect(box.querySelectorAll("[role=gridcell]").length).toBe(80);
  });

  test("Enter, Space and a click select; noise has no colour of a finding", () => {
    const selected: unknown[] = [];
    const noisy = (row: number, column: number) => ({ ...cell(row, column), isNoise: column === 1 });
    draw(h(Grid, { name: "g", rows: names("r", 2), columns: names("c", 2), cell: noisy, onSelect: (place) => void selected.push(place) }));
    (box.querySelector("[tabindex='0']") as HTMLElement).focus();
    press("Enter");
    press(" ");
    act(() => (box.querySelectorAll<HTMLElement>("[role=gridcell]")[3] as HTMLElement).click());
    expect(selected).toEqual([{ row: 0, column: 0 }, { row: 0, column: 0 }, { row: 1, column: 1 }]);
    const noise = box.querySelectorAll<HTMLElement>(".noise");
    expect([...noise].map((each) => each.style.backgroundColor)).toEqual(["", ""]);
  });

  test("follows a place that is chosen elsewhere", () => {
    const props = { name: "g", rows: names("r", 3), columns: names("c", 3), cell };
    draw(h(Grid, { ...props, at: { row: 0, column: 0 } }));
    draw(h(Grid, { ...props, at: { row: 2, column: 1 } }));
    expect(readout()).toBe("row 2, column 1: 50 %");
  });

  test("of nothing is a grid all the same", () => {
    draw(h(Grid, { name: "g", rows: [], columns: [], cell }));
    expect(readout()).toBe("");
  });
});

describe("text as tokens", () => {
  const tokens = [" the", " cat", "\n", "", "sat"].map((text, n) => ({ text, said: `${text} ${n * 10} %`, share: n / 10 }));

  test("arrow keys go from token to token, and the focus goes with them", () => {
    let at = 1;
    const show = (): unknown => draw(h(TokenText, { name: "t", tokens, drawn: "underline", at, onMove: (index) => ((at = index), show()) }));
    show();
    (box.querySelector("[aria-selected=true]") as HTMLElement).focus();
    const places = ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "Home"].map((key) => {
      press(key);
      return document.activeElement?.getAttribute("aria-label");
    });
    expect(places).toEqual(["\n 20 %", " 30 %", "sat 40 %", "sat 40 %", " the 0 %"]);
    expect(box.querySelectorAll("[tabindex='0']").length).toBe(1);
  });

  test("white space that would not be seen is shown, and a line ends where the model ended it", () => {
    draw(h(TokenText, { name: "t", tokens, drawn: "shade", at: 0, onMove: () => undefined }));
    expect([...box.querySelectorAll(".token")].map((each) => each.textContent)).toEqual([" the", " cat", "⏎", "∅", "sat"]);
    expect(box.querySelectorAll("br").length).toBe(1);
  });

  test("what is unlikely is underlined thicker, not only in another colour", () => {
    draw(h(TokenText, { name: "t", tokens: [{ text: "a", said: "", share: 1 }, { text: "b", said: "", share: 0 }, { text: "c", said: "", share: null }], drawn: "underline", at: 0, onMove: () => undefined }));
    expect([...box.querySelectorAll<HTMLElement>(".token")].map((each) => each.style.borderBottomWidth)).toEqual(["1px", "5px", ""]);
  });
});

describe("bars and lines", () => {
  test("a bar's number is beside it, and below zero it grows to the left", () => {
    draw(h(Bars, { name: "b", items: [{ name: "up", value: 2, said: "+2" }, { name: "down", value: -1, said: "−1" }] }));
    expect(box.textContent).toBe("up+2down−1");
    expect([...box.querySelectorAll<HTMLElement>(".fill")].map((each) => each.style.width)).toEqual(["100%", "50%"]);
    expect(box.querySelectorAll(".track.below").length).toBe(1);
  });

  test("bars of nothing but zeros are empty", () => {
    draw(h(Bars, { name: "b", items: [{ name: "a", value: 0, said: "0" }] }));
    expect(box.querySelector<HTMLElement>(".fill")?.style.width).toBe("0%");
  });

  test("a line is a slider: its numbers are said as one moves along it, and where nothing is known it is broken", () => {
    draw(h(Line, { name: "l", values: [0, 1, null, 0.5], range: [0, 1], said: (n) => `token ${n}` }));
    const slider = box.querySelector<HTMLElement>("[role=slider]");
    slider?.focus();
    press("End");
    press("ArrowLeft");
    expect([slider?.getAttribute("aria-valuenow"), slider?.getAttribute("aria-valuetext")]).toEqual(["2", "token 2"]);
    expect(pathOf([0, 1, null, 0.5], [0, 1])).toBe("M0.0 56.0L100.0 4.0M300.0 30.0");
    expect(pathOf([5, 5], [5, 5])).toBe("M0.0 30.0L300.0 30.0");
  });
});

test("a figure says its finding in words, and its numbers are a table for who asks", () => {
  draw(h(Figure, { title: "Heads", finding: "Head 3 reads the name.", table: () => ({ columns: ["Head", "Weight"], rows: [["3", "0.9"]] }), children: "drawing" }));
  const figure = box.querySelector("figure");
  expect(figure?.querySelector("figcaption")?.textContent).toBe("Head 3 reads the name.");
  expect(document.getElementById(figure?.getAttribute("aria-labelledby") ?? "")?.textContent).toBe("Heads");
  expect(box.textContent).toContain("drawing");
  const button = box.querySelector("button") as HTMLButtonElement;
  act(() => button.click());
  expect(button.getAttribute("aria-pressed")).toBe("true");
  expect([...box.querySelectorAll("th, td")].map((each) => each.textContent)).toEqual(["Head", "Weight", "3", "0.9"]);
  expect(box.querySelector("th[scope=row]")?.textContent).toBe("3");
  expect(box.textContent).not.toContain("drawing");
});
