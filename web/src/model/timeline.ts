// The axis of time: which span of it is seen, how that moves, and where its marks stand. Times are ms since 1970, UTC;
// days and hours are those of this machine's zone.

export interface Span {
  from_ms: number;
  to_ms: number;
}

export interface Tick {
  at_ms: number;
  label: string;
  /** A day begins here. */
  is_day: boolean;
}

const [SECOND, MINUTE, HOUR] = [1000, 60_000, 3_600_000];
export const DAY_MS = 24 * HOUR;
export const SHORTEST_MS = 2 * SECOND;
export const LONGEST_MS = 40 * DAY_MS;

// Zones differ from UTC by whole quarters of an hour: up to that, marks stand evenly; hours and days are the zone's own.
const EVEN_STEPS = [100, 200, 500, 1, 2, 5, 10, 15, 30].map((each) => (each >= 100 ? each : each * SECOND));
const MINUTE_STEPS = [1, 2, 5, 15].map((each) => each * MINUTE);
const CLOCK_STEPS = [0.5, 1, 2, 3, 6, 12].map((each) => each * HOUR);
const DAY_STEPS = [1, 2, 7, 14];

export const lengthOf = ({ from_ms, to_ms }: Span): number => to_ms - from_ms;
export const holds = ({ from_ms, to_ms }: Span, at_ms: number): boolean => at_ms >= from_ms && at_ms <= to_ms;
export const moved = ({ from_ms, to_ms }: Span, by_ms: number): Span => ({ from_ms: from_ms + by_ms, to_ms: to_ms + by_ms });
export const ordered = (a_ms: number, b_ms: number): Span => ({ from_ms: Math.min(a_ms, b_ms), to_ms: Math.max(a_ms, b_ms) });
export const overlaps = (a: Span, b: Span): boolean => a.from_ms <= b.to_ms && b.from_ms <= a.to_ms;

export const xOf = (span: Span, width_px: number, at_ms: number): number => ((at_ms - span.from_ms) / lengthOf(span)) * width_px;
export const timeAt = (span: Span, width_px: number, x_px: number): number => span.from_ms + (x_px / width_px) * lengthOf(span);

/** Longer by `factor`, within what can be shown; the moment `at_ms` stays where it is. */
export function zoomed(span: Span, factor: number, at_ms: number): Span {
  const length = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, lengthOf(span) * factor));
  const share = (at_ms - span.from_ms) / lengthOf(span);
  return { from_ms: at_ms - share * length, to_ms: at_ms + (1 - share) * length };
}

export const around = (at_ms: number, length_ms: number): Span => ({ from_ms: at_ms - length_ms / 2, to_ms: at_ms + length_ms / 2 });

/** As it is while `at_ms` is in it, else moved on so that the moment stands near the side from which it came. */
export function following(span: Span, at_ms: number): Span {
  if (holds(span, at_ms)) return span;
  const length = lengthOf(span);
  const share = at_ms > span.to_ms ? 0.1 : 0.9;
  return { from_ms: at_ms - share * length, to_ms: at_ms + (1 - share) * length };
}

export const lastHour = (now_ms: number): Span => ({ from_ms: now_ms - HOUR, to_ms: now_ms + HOUR / 30 });
export const dayOf = (at_ms: number): Span => ({ from_ms: midnight(at_ms, 0), to_ms: midnight(at_ms, 1) });
export const daysTo = (now_ms: number, days: number): Span => ({ from_ms: midnight(now_ms, 1 - days), to_ms: midnight(now_ms, 1) });

function midnight(at_ms: number, days: number): number {
  const at = new Date(at_ms);
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() + days).getTime();
}

/** Marks at round times, no two of them nearer than `least_px`. */
export function ticks(span: Span, width_px: number, least_px: number): Tick[] {
  const least_ms = (lengthOf(span) * least_px) / Math.max(1, width_px);
  const even = [...EVEN_STEPS, ...MINUTE_STEPS].find((each) => each >= least_ms);
  if (even) return evenTicks(span, even);
  const step = CLOCK_STEPS.find((each) => each >= least_ms);
  return step ? clockTicks(span, step) : dayTicks(span, DAY_STEPS.find((each) => each * DAY_MS >= least_ms) ?? 28);
}

function evenTicks(span: Span, step: number): Tick[] {
  const found: Tick[] = [];
  for (let at = Math.ceil(span.from_ms / step) * step; at <= span.to_ms; at += step) found.push(tickAt(at, step));
  return found;
}

function clockTicks(span: Span, step: number): Tick[] {
  const found: Tick[] = [];
  for (let day = 0; midnight(span.from_ms, day) <= span.to_ms; day++) {
    const start = new Date(midnight(span.from_ms, day));
    for (let minute = 0; minute < 24 * 60; minute += step / MINUTE) {
      const at = new Date(start.getFullYear(), start.getMonth(), start.getDate(), 0, minute).getTime();
      // Where the clock is put forward, an hour is missing: what would stand in it is the next mark already.
      if (holds(span, at) && at > (found.at(-1)?.at_ms ?? -Infinity)) found.push(tickAt(at, step));
    }
  }
  return found;
}

function dayTicks(span: Span, days: number): Tick[] {
  const found: Tick[] = [];
  for (let day = 0; midnight(span.from_ms, day) <= span.to_ms; day++) {
    const at = midnight(span.from_ms, day);
    // Weeks begin on Mondays, as 5 January 1970 was one.
    const number = Math.round((at - new Date(1970, 0, 5).getTime()) / DAY_MS);
    if (at >= span.from_ms && number % days === 0) found.push(tickAt(at, days * DAY_MS));
  }
  return found;
}

function tickAt(at_ms: number, step: number): Tick {
  const is_day = midnight(at_ms, 0) === at_ms;
  return { at_ms, is_day, label: is_day ? dateText(at_ms) : clockText(at_ms, step >= MINUTE ? 0 : step >= SECOND ? 1 : 2) };
}

/** "Sat 21 Nov". */
export const dateText = (at_ms: number): string =>
  new Date(at_ms).toLocaleDateString([], { weekday: "short", day: "numeric", month: "short" });

/** "14:03", "14:03:12" or "14:03:12.5", by how fine it has to be. */
function clockText(at_ms: number, fineness: 0 | 1 | 2): string {
  const at = new Date(at_ms);
  const parts = [at.getHours(), at.getMinutes(), at.getSeconds()].slice(0, fineness ? 3 : 2);
  const text = parts.map((each) => String(each).padStart(2, "0")).join(":");
  return fineness === 2 ? `${text}.${Math.floor(at.getMilliseconds() / 100)}` : text;
}

const three = (value: number): string => String(value).padStart(3, "0");

/** "14:03:12.480": the time of day to the millisecond. */
export function exactText(at_ms: number): string {
  const whole_ms = Math.floor(at_ms + 1e-3); // what was 480 ms may come as 479.9999
  return `${clockText(whole_ms, 1)}.${three(new Date(whole_ms).getMilliseconds())}`;
}

/** "2026-11-21 14:03:12.480 UTC". */
export const utcText = (at_ms: number): string => `${new Date(Math.floor(at_ms + 1e-3)).toISOString().replace("T", " ").slice(0, -1)} UTC`;

/** "CET", "GMT+1", ...: the zone that this machine is in at that time. */
export const zoneOf = (at_ms: number): string =>
  new Intl.DateTimeFormat([], { timeZoneName: "short" }).formatToParts(at_ms).find(({ type }) => type === "timeZoneName")?.value ?? "";

/** "20261121T130312.480Z", as it stands in the page's address: not before the moment, so that it leads to the same frame. */
export const compactOf = (at_ms: number): string => new Date(Math.ceil(at_ms - 1e-3)).toISOString().replace(/[-:]/g, "");

/** None where the text is no such moment. */
export function readCompact(text: string): number | null {
  const at_ms = Date.parse(text.replace(/^(\d{4})(\d\d)(\d\dT\d\d)(\d\d)(\d\d(?:\.\d+)?Z)$/, "$1-$2-$3:$4:$5"));
  return Number.isFinite(at_ms) ? at_ms : null;
}

/** "hall 2026-11-21 14-03-12": how a file is called that a person saves; in this machine's zone. */
export function savedName(camera: string, at_ms: number): string {
  const at = new Date(at_ms);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${camera} ${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clockText(at_ms, 1).replaceAll(":", "-")}`;
}
