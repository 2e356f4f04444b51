// Polygons on a picture, as a person draws them: points from 0 to 1, left to right and top to bottom. Nothing is changed
// in place: each change gives new polygons, so that a step back is the ones before.

import type { Point, Polygon } from "../api/types";

const BORDER = 0.015; // so near to the border of the picture is on it
const LEVEL = 0.008; // so nearly level or upright with its neighbour is level or upright
const EXACT = 1e4; // a ten thousandth of the picture is less than a pixel
export const MOST_POLYGONS = 100;
export const MOST_POINTS = 100;

/** Inside the picture, on its border where it is near, level with one of `neighbours` where it nearly is. */
export function snapped([x, y]: Point, neighbours: Point[] = []): Point {
  const along = (value: number, others: number[]): number => {
    if (value < BORDER) return 0;
    if (value > 1 - BORDER) return 1;
    return others.find((each) => Math.abs(each - value) < LEVEL) ?? rounded(value);
  };
  return [along(x, neighbours.map((each) => each[0])), along(y, neighbours.map((each) => each[1]))];
}

export const rectangle = ([x1, y1]: Point, [x2, y2]: Point): Polygon => {
  const [left, right, top, bottom] = [Math.min(x1, x2), Math.max(x1, x2), Math.min(y1, y2), Math.max(y1, y2)];
  return [[left, top], [right, top], [right, bottom], [left, bottom]];
};

/** The points before and after a polygon's point. */
export function neighboursOf(polygon: Polygon, index: number): Point[] {
  const count = polygon.length;
  return [polygon[(index + count - 1) % count]!, polygon[(index + 1) % count]!];
}

export const withPoint = (polygons: Polygon[], which: number, index: number, point: Point): Polygon[] =>
  changed(polygons, which, (polygon) => polygon.map((each, at) => (at === index ? point : each)));

/** A new point in the middle of the side that begins at `index`. */
export const withMiddle = (polygons: Polygon[], which: number, index: number): Polygon[] =>
  changed(polygons, which, (polygon) => polygon.toSpliced(index + 1, 0, middleOf(polygon, index)));

/** Without a point; a polygon of three goes as a whole. */
export function withoutPoint(polygons: Polygon[], which: number, index: number): Polygon[] {
  if ((polygons[which]?.length ?? 0) <= 3) return without(polygons, which);
  return changed(polygons, which, (polygon) => polygon.toSpliced(index, 1));
}

export const without = (polygons: Polygon[], which: number): Polygon[] => polygons.toSpliced(which, 1);

export function middleOf(polygon: Polygon, index: number): Point {
  const [[x1, y1], [x2, y2]] = [polygon[index]!, polygon[(index + 1) % polygon.length]!];
  return [(x1 + x2) / 2, (y1 + y2) / 2];
}

const changed = (polygons: Polygon[], which: number, change: (polygon: Polygon) => Polygon): Polygon[] =>
  polygons.map((polygon, at) => (at === which ? change(polygon) : polygon));

/** Moved as a whole, as far as the picture goes. */
export function shifted(polygon: Polygon, x_by: number, y_by: number): Polygon {
  const inside = (by: number, values: number[]): number => Math.min(1 - Math.max(...values), Math.max(-Math.min(...values), by));
  const x_inside = inside(x_by, polygon.map(([x]) => x));
  const y_inside = inside(y_by, polygon.map(([, y]) => y));
  return polygon.map(([x, y]) => [rounded(x + x_inside), rounded(y + y_inside)]);
}

const rounded = (value: number): number => Math.min(1, Math.max(0, Math.round(value * EXACT) / EXACT));

/** Its part of the picture, 0 to 1. */
export function areaOf(polygon: Polygon): number {
  const sum = polygon.reduce((total, [x, y], index) => {
    const [next_x, next_y] = polygon[(index + 1) % polygon.length]!;
    return total + x * next_y - next_x * y;
  }, 0);
  return Math.abs(sum) / 2;
}
