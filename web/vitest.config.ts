import { defineConfig } from "vitest/config";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  test: {
    projects: [
      { extends: true, test: { name: "unit", include: ["tests/*.test.ts"], environment: "jsdom" } },
      { extends: true, test: { name: "browser", include: ["tests/browser/*.test.ts"], environment: "node", testTimeout: 60_000, hookTimeout: 60_000, expect: { poll: { timeout: 15_000 } }, fileParallelism: false } },
    ],
  },
});
