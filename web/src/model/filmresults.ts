// What processors saw while a film was recorded, by the time in that film.

import type { Result } from "../api/types";

const OLD_S = 2; // what was seen longer ago is not shown any more
const NEAR_S = 0.002; // times in films are rounded to their time scale

interface Seen {
  film_s: number;
  result: Result;
}

export class FilmResults {
  private readonly by_processor = new Map<string, Seen[]>();

  /** `text`: one JSON object per line; a line that is not whole yet is passed over. */
  constructor(text: string) {
    for (const line of text.split("\n")) this.add(line);
    for (const each of this.by_processor.values()) each.sort((a, b) => a.film_s - b.film_s);
  }

  get processors(): string[] {
    return [...this.by_processor.keys()];
  }

  /** Of the frame at `film_s`, or of the last one before it that was looked at. */
  at(film_s: number): Result[] {
    const found: Result[] = [];
    for (const seen of this.by_processor.values()) {
      const last = seen[lastUpTo(seen, film_s + NEAR_S)];
      if (last && film_s - last.film_s < OLD_S) found.push(last.result);
    }
    return found;
  }

  private add(line: string): void {
    const read = parsed(line);
    if (!read) return;
    const seen = this.by_processor.get(read.processor) ?? [];
    seen.push({ film_s: read.film_s, result: read });
    this.by_processor.set(read.processor, seen);
  }
}

function lastUpTo(seen: Seen[], film_s: number): number {
  let [low, high] = [0, seen.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (seen[middle]!.film_s <= film_s) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function parsed(line: string): (Result & { film_s: number }) | null {
  if (!line.trim()) return null;
  try {
    const read = JSON.parse(line) as Result & { film_s: number };
    return typeof read.film_s === "number" && typeof read.processor === "string" ? read : null;
  } catch {
    return null;
  }
}
