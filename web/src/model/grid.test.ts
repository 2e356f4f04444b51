import { describe, expect, it } from "vitest";
import { layout, split, type Layout } from "./grid";

const WIDE = 16 / 9;
const cameras = (count: number): number[] => Array<number>(count).fill(WIDE);
const share = ({ rects }: Layout, width: number, height: number): number =>
  rects.reduce((sum, each) => sum + each.width * each.height, 0) / (width * height);

describe("the live grid", () => {
  it("keeps every picture's shape, inside the window", () => {
    const aspects = [WIDE, 4 / 3, 1, WIDE, 9 / 16];
    const { rects } = layout(aspects, 1384, 900, 160);
    rects.forEach((each, index) => {
      expect(each.width / each.height).toBeCloseTo(aspects[index]!, 6);
      expect(each.left).toBeGreaterThanOrEqual(-1e-6);
      expect(each.left + each.width).toBeLessThanOrEqual(1384 + 1e-6);
      expect(each.top + each.height).toBeLessThanOrEqual(900 + 1e-6);
    });
  });

  it("uses the window better than equal tiles would", () => {
    for (const count of [1, 2, 3, 4, 5, 6, 7, 9, 12, 16])
      expect(share(layout(cameras(count), 1384, 900, 120), 1384, 900), `${count} cameras`).toBeGreaterThan(0.56);
    expect(share(layout(cameras(7), 1384, 900, 120), 1384, 900)).toBeGreaterThan(0.85);
  });

  it("puts one below the other on a phone, and scrolls rather than showing stamps", () => {
    const few = layout(cameras(3), 390, 780, 180);
    expect(new Set(few.rects.map(({ left }) => Math.round(left))).size).toBe(1);
    const many = layout(cameras(20), 390, 780, 180);
    expect(many.height).toBeGreaterThan(780);
    expect(Math.max(...few.rects.map(({ width }) => width))).toBe(390);
    expect(Math.min(...many.rects.map(({ width }) => width))).toBeGreaterThanOrEqual(180);
    expect(layout(cameras(80), 1384, 900, 180).height).toBeGreaterThan(900);
  });

  it("splits evenly, the short rows first", () => {
    expect(split([1, 2, 3, 4, 5, 6, 7], 3)).toEqual([[1, 2], [3, 4], [5, 6, 7]]);
    expect(layout([], 100, 100, 10).rects).toEqual([]);
  });
});
