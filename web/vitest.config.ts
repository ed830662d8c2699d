import { defineConfig } from "vitest/config";
import { PATIENCE } from "./tests/browser/patience";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  test: {
    projects: [
      { extends: true, test: { name: "unit", include: ["tests/*.test.ts"], environment: "jsdom" } },
      { extends: true, test: { name: "browser", include: ["tests/browser/*.test.ts"], environment: "node", testTimeout: 3 * PATIENCE, hookTimeout: PATIENCE, expect: { poll: { timeout: PATIENCE } }, fileParallelism: false } },
    ],
  },
});
