/** Two texts word by word: what both say, and what only one of them says. */

/** A word with the white space behind it. `isShared`: the other text says it too, in the same order. */
export interface DiffWord {
  text: string;
  isShared: boolean;
}

const MOST_WORDS = 3000; // of each text; a table of so many times so many is kept
const wordsOf = (text: string): string[] => text.match(/\s*\S+\s*/g) ?? (text ? [text] : []);

/** Both texts with their longest common sequence of words marked; undefined where they are too long for that. */
export function diffWords(one: string, other: string): [DiffWord[], DiffWord[]] | undefined {
  const [first, second] = [wordsOf(one), wordsOf(other)];
  if (Math.max(first.length, second.length) > MOST_WORDS) return undefined;
  const [a, b] = [first.map((each) => each.trim()), second.map((each) => each.trim())];
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width); // of the longest common sequence from there on
  const at = (row: number, column: number) => lengths[row * width + column] ?? 0;
  for (let row = a.length - 1; row >= 0; row -= 1)
    for (let column = b.length - 1; column >= 0; column -= 1)
      lengths[row * width + column] = a[row] === b[column] ? at(row + 1, column + 1) + 1 : Math.max(at(row + 1, column), at(row, column + 1));
  const marked: [DiffWord[], DiffWord[]] = [first.map((text) => ({ text, isShared: false })), second.map((text) => ({ text, isShared: false }))];
  for (let row = 0, column = 0; row < a.length && column < b.length; ) {
    const [left, right] = [marked[0][row], marked[1][column]];
    if (left && right && a[row] === b[column]) {
      left.isShared = right.isShared = true;
      row += 1;
      column += 1;
    } else if (at(row + 1, column) >= at(row, column + 1)) row += 1;
    else column += 1;
  }
  return marked;
}

/** The first word in which two texts differ; undefined where they say the same. */
export function firstDifference(one: string, other: string): number | undefined {
  const [first, second] = [wordsOf(one), wordsOf(other)].map((words) => words.map((each) => each.trim()));
  const longest = Math.max(first?.length ?? 0, second?.length ?? 0);
  for (let n = 0; n < longest; n += 1) if (first?.[n] !== second?.[n]) return n;
  return undefined;
}
