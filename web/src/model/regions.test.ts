import { describe, expect, it } from "vitest";
import type { Polygon } from "../api/types";
import { areaOf, rectangle, shifted, snapped, withMiddle, withoutPoint, withPoint } from "./regions";

const TRIANGLE: Polygon = [[0, 0], [1, 0], [1, 1]];

describe("regions", () => {
  it("stay in the picture, and snap to its border and to their neighbours", () => {
    expect(snapped([-0.2, 1.4])).toEqual([0, 1]);
    expect(snapped([0.01, 0.989])).toEqual([0, 1]);
    expect(snapped([0.503, 0.3], [[0.5, 0.9]])).toEqual([0.5, 0.3]);
    expect(snapped([0.123456, 0.5])).toEqual([0.1235, 0.5]);
  });

  it("are changed point by point, and never in place", () => {
    const polygons = [TRIANGLE, rectangle([0.8, 0.6], [0.2, 0.1])];
    expect(withPoint(polygons, 0, 1, [0.5, 0.5])[0]).toEqual([[0, 0], [0.5, 0.5], [1, 1]]);
    expect(withMiddle(polygons, 0, 2)[0]).toEqual([...TRIANGLE, [0.5, 0.5]]);
    expect(withoutPoint(polygons, 1, 0)[1]).toHaveLength(3);
    expect(withoutPoint(polygons, 0, 0)).toEqual([polygons[1]]);
    expect(polygons[0]).toEqual([[0, 0], [1, 0], [1, 1]]);
  });

  it("are moved as a whole, and keep their shape at the border", () => {
    expect(shifted(rectangle([0.2, 0.2], [0.4, 0.5]), 0.1, 0.9)).toEqual(rectangle([0.3, 0.7], [0.5, 1]));
  });

  it("have an area, whichever way they run", () => {
    expect(areaOf(TRIANGLE)).toBeCloseTo(0.5);
    expect(areaOf(rectangle([0.8, 0.6], [0.2, 0.1]))).toBeCloseTo(0.3);
    expect(areaOf([...TRIANGLE].reverse())).toBeCloseTo(0.5);
  });
});
