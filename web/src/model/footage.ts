// What is recorded of one camera: films in order of time, without anything of the page. Times are ms since 1970, UTC.

import type { RecordedEvent, Segment } from "../api/types";
import { overlaps, xOf, type Span } from "./timeline";
import { toMs } from "./words";

export interface Film {
  id: string;
  begin_ms: number;
  end_ms: number;
  bytes: number;
  codec: string;
  /** For `canPlayType`; empty where it is not known. */
  mime: string;
  frames: number;
  is_writing: boolean;
  has_results: boolean;
}

export interface Moment {
  id: string;
  at_ms: number;
  /** None while it goes on, or where nobody knows. */
  end_ms: number | null;
  processor: string;
  name: string;
}

export const filmOf = ({ id, begin_utc_ns, end_utc_ns, bytes, codec, mime, frames, state, has_results }: Segment): Film => ({
  id, begin_ms: toMs(begin_utc_ns), end_ms: toMs(end_utc_ns), bytes, codec, mime: mime ?? "", frames, is_writing: state === "writing", has_results,
});

export const momentOf = ({ id, at_utc_ns, end_utc_ns, processor, name }: RecordedEvent): Moment => ({
  id: String(id), at_ms: toMs(at_utc_ns), end_ms: typeof end_utc_ns === "number" ? toMs(end_utc_ns) : null, processor, name,
});

const MOST_AT_ONCE = 8; // films that overlap, where a clock was set back
export const SAME_MS = 1000; // two films so near to each other are one recording

/** Where the first film begins that begins after `at_ms`; the number of films where none does. */
export function firstAfter(films: readonly { begin_ms: number }[], at_ms: number): number {
  let [low, high] = [0, films.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (films[middle]!.begin_ms <= at_ms) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The film that shows a moment; the newest where clocks were set back. */
export function filmAt(films: readonly Film[], at_ms: number): Film | null {
  const after = firstAfter(films, at_ms);
  for (let index = after - 1; index >= Math.max(0, after - MOST_AT_ONCE); index--)
    if (films[index]!.end_ms > at_ms) return films[index]!;
  return null;
}

/** The one that begins next, at or after `at_ms`. */
export const filmFrom = (films: readonly Film[], at_ms: number): Film | null => films[firstAfter(films, at_ms - 1e-3)] ?? null;

/** The last one that begins before `at_ms`. */
export const filmBefore = (films: readonly Film[], at_ms: number): Film | null => films[firstAfter(films, at_ms - 1e-3) - 1] ?? null;

export function filmAfter(films: readonly Film[], { id, begin_ms }: Film): Film | null {
  for (let index = Math.max(0, firstAfter(films, begin_ms - 1)); index < films.length; index++)
    if (films[index]!.id === id) return films[index + 1] ?? null;
  return filmFrom(films, begin_ms + 1);
}

/** Where bars stand, as pairs of x, left to right: what is less than a pixel apart is one. */
export function bars(films: readonly Film[], span: Span, width_px: number): [number, number][] {
  const found: [number, number][] = [];
  for (let index = Math.max(0, firstAfter(films, span.from_ms) - MOST_AT_ONCE); index < films.length; index++) {
    const { begin_ms, end_ms } = films[index]!;
    if (begin_ms > span.to_ms) break;
    if (end_ms < span.from_ms) continue;
    const [left, right] = [xOf(span, width_px, begin_ms), xOf(span, width_px, end_ms)];
    const last = found.at(-1);
    if (last && left <= last[1] + 1) last[1] = Math.max(last[1], right);
    else found.push([left, Math.max(right, left + 1)]);
  }
  return found;
}

export interface Mark {
  x: number;
  moments: Moment[];
}

/** Moments that are seen; those nearer to each other than `reach_px` are one mark. */
export function marks(moments: readonly Moment[], span: Span, width_px: number, reach_px: number): Mark[] {
  const found: Mark[] = [];
  for (const moment of moments) {
    if (moment.at_ms < span.from_ms || moment.at_ms > span.to_ms) continue;
    const x = xOf(span, width_px, moment.at_ms);
    const last = found.at(-1);
    if (last && x - last.x < reach_px) last.moments.push(moment);
    else found.push({ x, moments: [moment] });
  }
  return found;
}

/** What is known, with all of `span` replaced by what is known of it now; in order. */
export function renewed(known: readonly Film[], fresh: readonly Film[], span: Span): Film[] {
  const ids = new Set(fresh.map(({ id }) => id));
  const kept = known.filter((film) => !ids.has(film.id) && !overlaps(span, { from_ms: film.begin_ms, to_ms: film.end_ms }));
  return [...kept, ...fresh].sort((a, b) => a.begin_ms - b.begin_ms || (a.id < b.id ? -1 : 1));
}

export function renewedMoments(known: readonly Moment[], fresh: readonly Moment[], { from_ms, to_ms }: Span): Moment[] {
  const ids = new Set(fresh.map(({ id }) => id));
  const kept = known.filter(({ id, at_ms }) => !ids.has(id) && (at_ms < from_ms || at_ms > to_ms));
  return [...kept, ...fresh].sort((a, b) => a.at_ms - b.at_ms);
}

/** Of what lies in a span: how long it lasts and how large it is, roughly, where films are cut. */
export function amountOf(films: readonly Film[], span: Span): { films: number; ms: number; bytes: number } {
  const sum = { films: 0, ms: 0, bytes: 0 };
  for (const { begin_ms, end_ms, bytes } of films) {
    const ms = Math.min(end_ms, span.to_ms) - Math.max(begin_ms, span.from_ms);
    if (ms <= 0) continue;
    sum.films += 1;
    sum.ms += ms;
    sum.bytes += (bytes * ms) / Math.max(1, end_ms - begin_ms);
  }
  return sum;
}
