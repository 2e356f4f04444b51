import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  around, compactOf, DAY_MS, dayOf, exactText, following, holds, lengthOf, LONGEST_MS, moved, readCompact, SHORTEST_MS, ticks, timeAt, utcText, xOf, zoomed,
} from "./timeline";

const { env } = (globalThis as unknown as { process: { env: Record<string, string | undefined> } }).process;
const zone = env["TZ"];
beforeAll(() => (env["TZ"] = "Europe/Berlin"));
afterAll(() => (env["TZ"] = zone));

const HOUR = 3_600_000;
const hours = (span: { from_ms: number; to_ms: number }): number => lengthOf(span) / HOUR;

describe("a span of time", () => {
  const span = { from_ms: 1000, to_ms: 11_000 };

  it("is zoomed around a moment, which stays where it is", () => {
    const nearer = zoomed(span, 0.5, 3000);
    expect([lengthOf(nearer), xOf(nearer, 100, 3000)]).toEqual([5000, xOf(span, 100, 3000)]);
  });

  it("is never shorter or longer than can be shown", () => {
    expect(lengthOf(zoomed(span, 1e-9, 3000))).toBe(SHORTEST_MS);
    expect(lengthOf(zoomed(span, 1e9, 3000))).toBe(LONGEST_MS);
  });

  it("goes there and back", () => {
    expect(timeAt(span, 640, xOf(span, 640, 4321))).toBeCloseTo(4321, 6);
    expect(moved(moved(span, 77), -77)).toEqual(span);
  });

  it("follows what leaves it", () => {
    expect(following(span, 5000)).toBe(span);
    expect(holds(following(span, 12_000), 12_000)).toBe(true);
    expect(xOf(following(span, 12_000), 100, 12_000)).toBeCloseTo(10, 6);
    expect(xOf(following(span, 0), 100, 0)).toBeCloseTo(90, 6);
  });
});

describe("marks", () => {
  it("stand at round times, and not too near to each other", () => {
    const start = new Date(2026, 10, 21, 14, 3, 7).getTime();
    for (const length of [2000, 10_000, 60_000, HOUR, 6 * HOUR, 2 * DAY_MS, 9 * DAY_MS, LONGEST_MS]) {
      for (const width of [300, 1200]) {
        const span = { from_ms: start, to_ms: start + length };
        const found = ticks(span, width, 80);
        const xs = found.map(({ at_ms }) => xOf(span, width, at_ms));
        expect(found.length, `${length} ms in ${width} px`).toBeGreaterThan(0);
        expect(Math.min(...xs.slice(1).map((x, index) => x - xs[index]!), 80)).toBeGreaterThan(70);
        expect(xs.every((x) => x >= 0 && x <= width)).toBe(true);
      }
    }
  });

  it("are as fine as they have to be, and name the day at midnight", () => {
    const at = new Date(2026, 10, 21, 23, 59, 59).getTime();
    expect(ticks(around(at + 1000, 2000), 400, 80).map(({ label }) => label)).toEqual([
      "23:59:59.0", "23:59:59.5", expect.stringMatching(/22/), "00:00:00.5", "00:00:01.0",
    ]);
    expect(ticks(around(at, 8 * HOUR), 400, 80).map(({ label, is_day }) => [label, is_day])).toEqual([
      ["20:00", false], ["22:00", false], [expect.stringMatching(/22/), true], ["02:00", false],
    ]);
  });

  it("are those of the clock where it is put forward and back", () => {
    const [forward, back] = [dayOf(new Date(2026, 2, 29, 12).getTime()), dayOf(new Date(2026, 9, 25, 12).getTime())];
    expect([hours(forward), hours(back)]).toEqual([23, 25]);
    for (const day of [forward, back]) {
      const found = ticks(day, 900, 80).map(({ label }) => label);
      expect(found.slice(1, -1)).toEqual(["03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]);
    }
    const weeks = ticks({ from_ms: forward.from_ms - 20 * DAY_MS, to_ms: forward.to_ms + 15 * DAY_MS }, 500, 80);
    expect(weeks.every(({ at_ms, is_day }) => is_day && new Date(at_ms).getDay() === 1)).toBe(true);
  });
});

it("says a moment to the millisecond, here and in UTC", () => {
  const at = Date.UTC(2026, 10, 21, 13, 3, 12, 480);
  expect([exactText(at - 1e-4), utcText(at), compactOf(at), compactOf(at - 0.7)]).toEqual([
    "14:03:12.480", "2026-11-21 13:03:12.480 UTC", "20261121T130312.480Z", "20261121T130312.480Z",
  ]);
  expect([compactOf(at), "20261121T130312Z", "yesterday", ""].map(readCompact)).toEqual([at, at - 480, null, null]);
});
