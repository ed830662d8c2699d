import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const page = "../src/ouvert/serving/web/built";

/** The files a build is made of, and one digest of them all: `make test` compares it without Node. */
const SOURCES = ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "public", "src"];

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

export default defineConfig({
  base: "./",
  build: {
    outDir: page,
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false }, // it would be an inline script, for old browsers only
    assetsInlineLimit: 0, // data: addresses would need a hole in the policy
    reportCompressedSize: false,
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [recordSources],
});
