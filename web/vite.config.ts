import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin, type UserConfig } from "vite";

const page = "../src/ouvert/serving/web/built";
const trace = "../src/ouvert/inspection/built";

/** The files a build is made of, and one digest of them all: `make test` compares it without Node. */
const SOURCES = ["index.html", "trace.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "public", "src"];

function sourcesDigest(): string {
  const files: string[] = [];
  const visit = (path: string) => {
    try {
      for (const name of readdirSync(path)) visit(join(path, name));
    } catch (problem) {
      if ((problem as NodeJS.ErrnoException).code !== "ENOTDIR") throw problem;
      files.push(path);
    }
  };
  SOURCES.forEach(visit);
  const lines = files.map((path) => {
    const content = createHash("sha256").update(readFileSync(path)).digest("hex");
    return `${content} ${path.replaceAll("\\", "/")}\n`;
  });
  return createHash("sha256").update(lines.sort().join("")).digest("hex");
}

const recordSources: Plugin = {
  name: "record-sources",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${sourcesDigest()}\n` });
  },
};

const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

/** The script and the style go into trace.html, whose policy lets in these two, by their digests, and nothing else. */
const intoOneFile: Plugin = {
  name: "into-one-file",
  enforce: "post", // Vite gives out the style last
  generateBundle(_, bundle) {
    let [script, style] = ["", ""];
    for (const [name, file] of Object.entries(bundle)) {
      if (file.type === "chunk") script = file.code.trim();
      else if (name.endsWith(".css")) style = String(file.source).trim();
      else continue;
      delete bundle[name];
    }
    if (/<\/script|<!--/i.test(script) || /<\/style/i.test(style)) throw new Error("trace.html: the script or the style would end its own element.");
    const whole = readFileSync("trace.html", "utf8")
      .replace("SCRIPT-HASH", () => hashOf(script))
      .replace("STYLE-HASH", () => hashOf(style))
      .replace("STYLE-TEXT", () => style)
      .replace("SCRIPT-TEXT", () => script);
    this.emitFile({ type: "asset", fileName: "trace.html", source: whole });
  },
};

const common = {
  base: "./",
  build: {
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false }, // it would be an inline script, for old browsers only
    assetsInlineLimit: 0, // data: addresses would need a hole in the policy
    reportCompressedSize: false,
  },
  oxc: { jsx: { runtime: "automatic" as const, importSource: "preact" } },
} satisfies UserConfig;

/** `vite build` makes the page; `vite build --mode trace` the file that a trace is exported into. */
export default defineConfig(({ mode }) =>
  mode === "trace"
    ? {
        ...common,
        publicDir: false,
        build: { ...common.build, outDir: trace, cssCodeSplit: false, rolldownOptions: { input: "src/exported.tsx", output: { format: "iife" } } },
        plugins: [intoOneFile, recordSources],
      }
    : { ...common, build: { ...common.build, outDir: page }, plugins: [recordSources] },
);
