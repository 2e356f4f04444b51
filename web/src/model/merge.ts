// Two people changed the same text: what each of them changed, together. Line by line.

export interface Merged {
  /** None where both changed the same lines. */
  text: string | null;
  /** Lines of `mine` that are also changed in `theirs`. */
  conflicts: string[];
}

/** Some lines of `base`, `from` up to before `to`, stand as `lines` now. */
interface Hunk {
  from: number;
  to: number;
  lines: string[];
}

export function merged(base: string, mine: string, theirs: string): Merged {
  const lines = base.split("\n");
  const [own, foreign] = [hunks(lines, mine.split("\n")), hunks(lines, theirs.split("\n"))];
  const isSame = (a: Hunk, b: Hunk): boolean => a.from === b.from && a.to === b.to && a.lines.join("\n") === b.lines.join("\n");
  const others = foreign.filter((each) => !own.some((hunk) => isSame(hunk, each)));
  const clashing = own.filter((hunk) => others.some((each) => touches(hunk, each)));
  if (clashing.length) return { text: null, conflicts: clashing.flatMap((hunk) => (hunk.lines.length ? hunk.lines : lines.slice(hunk.from, hunk.to))) };
  const all = [...own, ...others].sort((a, b) => b.from - a.from || b.to - a.to);
  const result = [...lines];
  for (const { from, to, lines: now } of all) result.splice(from, to - from, ...now);
  return { text: result.join("\n"), conflicts: [] };
}

/** Also where they only stand beside each other: what belongs together would be torn apart. */
const touches = (a: Hunk, b: Hunk): boolean => a.from <= b.to && b.from <= a.to;

/** What is to be done to `base` so that it is `now`. */
function hunks(base: string[], now: string[]): Hunk[] {
  const common = commonLines(base, now);
  const found: Hunk[] = [];
  let [i, j] = [0, 0];
  for (const [a, b] of [...common, [base.length, now.length] as const]) {
    if (a > i || b > j) found.push({ from: i, to: a, lines: now.slice(j, b) });
    [i, j] = [a + 1, b + 1];
  }
  return found;
}

/** Pairs of line numbers, the longest row of lines that both have. */
function commonLines(a: string[], b: string[]): [number, number][] {
  const length = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--) length[i]![j] = a[i] === b[j] ? length[i + 1]![j + 1]! + 1 : Math.max(length[i + 1]![j]!, length[i]![j + 1]!);
  const found: [number, number][] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) found.push([i++, j++]);
    else if (length[i + 1]![j]! >= length[i]![j + 1]!) i++;
    else j++;
  }
  return found;
}
