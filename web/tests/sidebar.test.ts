import { expect, test } from "vitest";
import { groupByDay } from "../src/components/sidebar";

test("conversations stand under the day they were last used", () => {
  const at = (id: string, updated: string) => ({ id, updated, title: id, created: updated, revision: 1, messages: 1 });
  const now = new Date(2026, 10, 25, 12);
  const days = [[25, 0], [24, 23], [24, 0], [20, 5], [2, 5]] as const;
  const summaries = days.map(([day, hour], index) => at(String(index), new Date(2026, 10, day, hour).toISOString()));
  expect(groupByDay(summaries, now).map(([name, members]) => [name, members.map(({ id }) => id)])).toEqual([
    ["today", ["0"]], ["yesterday", ["1", "2"]], ["thisWeek", ["3"]], ["earlier", ["4"]],
  ]);
});
