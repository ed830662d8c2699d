import { describe, expect, test } from "vitest";
import { renderBlock, splitBlocks, type Block } from "../src/markdown";

const LABELS = { copy: "Copy", imageNotLoaded: "Image not loaded" };
const dom = (source: string, growing = false) => {
  const element = document.createElement("div");
  element.innerHTML = renderBlock(source, LABELS, "", growing);
  return element;
};

const SAMPLE = `# Title

Some *text* with a [link][a] and
***bold** words*** here.

para
***
para
---
- one
- two

  still two

1. first
   \`\`\`python
   print("x")

   \`\`\`
2. second

| a | b |
|---|---|
| 1 | 2 |
text after

\`\`\`js
const a = "unclosed

    indented
~~~
\`\`\`

> quoted
lazily

    code by indent

<div>
html

</div>
Setext
===

[a]: https://example.org
end`;

describe("blocks of a growing answer", () => {
  test("are the same as of the whole, at every length and step", () => {
    for (const step of [1, 3, 17]) {
      let before: Block[] = [];
      for (let length = 0; length <= SAMPLE.length; length += step) {
        const text = SAMPLE.slice(0, length);
        before = splitBlocks(text, before);
        expect(before, JSON.stringify(text.slice(-40))).toEqual(splitBlocks(text));
      }
    }
  });
  test("hold every character", () => {
    expect(splitBlocks(SAMPLE).map((block) => block.source).join("")).toBe(SAMPLE);
  });
  test("that are settled are not made again", () => {
    const first = splitBlocks("a\n\nb\n\nc\n\nd\n\ne\n\nf");
    expect(splitBlocks("a\n\nb\n\nc\n\nd\n\ne\n\nf g", first)[0]).toBe(first[0]);
  });
});

describe("hostile output", () => {
  test.each([
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><style>*{}</style></svg>",
    "![a](https://tracker.test/a.png)",
    "![a](data:image/svg+xml,<svg/onload=alert(1)>)",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](vbscript:x)",
    "[a](&#106;avascript:alert(1))",
    "[a](java\nscript:alert(1))",
    '```html" onmouseover="alert(1)\n<script>alert(1)</script>\n```',
    "`<img src=x onerror=alert(1)>`",
    "| <img src=x onerror=alert(1)> |\n|---|\n| <iframe src=//tracker.test> |",
    '<a href="https://tracker.test" ping="https://tracker.test">x</a>',
    "<form action=//tracker.test><input name=q></form>",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
    "[a](https://example.org \"x\\\" onclick=\\\"alert(1)\")",
    "<https://example.org/\" onclick=\"alert(1)>",
    "<link rel=stylesheet href=//tracker.test><base href=//tracker.test>",
    '<div style="background:url(//tracker.test)">x</div>',
  ])("%s becomes nothing that acts or loads", (source) => {
    for (const element of dom(source).querySelectorAll("*")) {
      expect(["A", "BUTTON", "CODE", "DIV", "P", "PRE", "SPAN", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR"]).toContain(element.tagName);
      for (const { name, value } of element.attributes) {
        expect(["align", "class", "href", "rel", "tabindex", "target", "title", "type"]).toContain(name);
        if (name === "href") expect(value).toMatch(/^(https?|mailto):/i);
      }
    }
  });
  test("is shown, so that nothing is hidden from its reader", () => {
    expect(dom("<script>alert(1)</script>").textContent).toContain("<script>alert(1)</script>");
    expect(dom("![alt](https://tracker.test/a.png?q=1)").textContent).toContain("https://tracker.test/a.png?q=1");
    expect(dom("[a](javascript:alert(1))").textContent).toContain("javascript:alert(1)");
  });
});

describe("what people expect", () => {
  test("code has its language, its colours and a button", () => {
    const block = dom("```python\ndef f(): return 1\n```");
    expect(block.querySelector(".code-head span")?.textContent).toBe("python");
    expect(block.querySelector(".hljs-keyword")?.textContent).toBe("def");
    expect(block.querySelector("button.copy-code")?.getAttribute("type")).toBe("button");
    expect(block.querySelector("code")?.textContent).toBe("def f(): return 1");
  });
  test("an unknown language is plain text", () => {
    expect(dom("```klingon\n<b>\n```").querySelector("code")?.innerHTML).toBe("&lt;b&gt;");
  });
  test("long code is coloured only when it is complete", () => {
    const source = `\`\`\`python\n${"x = 1\n".repeat(1000)}\`\`\``;
    expect(dom(source, true).querySelector(".hljs-number")).toBeNull();
    expect(dom(source).querySelector(".hljs-number")).not.toBeNull();
  });
  test("links are real ones, and say where they go", () => {
    const link = dom("[there](https://example.org/a?b=1&c=2)").querySelector("a");
    expect(link?.getAttribute("href")).toBe("https://example.org/a?b=1&c=2");
    expect(link?.title).toBe("https://example.org/a?b=1&c=2");
    expect(link?.rel).toBe("noopener noreferrer nofollow");
  });
  test("definitions elsewhere in an answer are known", () => {
    const element = document.createElement("div");
    element.innerHTML = renderBlock("[text][a]", LABELS, "[a]: https://example.org\n");
    expect(element.querySelector("a")?.getAttribute("href")).toBe("https://example.org");
  });
  test("tables are aligned, tasks ticked", () => {
    expect(dom("| a |\n|--:|\n| 1 |").querySelector("td")?.getAttribute("align")).toBe("right");
    expect(dom("- [x] done\n- [ ] open").textContent).toMatch(/☑ done\s*☐ open/);
  });
});
