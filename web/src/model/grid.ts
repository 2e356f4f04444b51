// Where the tiles of the live page stand: rows of equal height, each as wide as the window, nothing cut off and no bars
// beside a picture. Of all numbers of rows the one is taken whose pictures are largest.

export interface Rect {
  left: number;
  top: number;
  width: number;
  height: number;
}

export interface Layout {
  rects: Rect[];
  /** Of the whole; more than the window's where the tiles would else become too small. */
  height: number;
}

export const GAP = 2;
const PHONE = 600; // narrower windows are scrolled with the thumb: pictures are as wide as they can be
const MANY = 6; // from so many on, a phone shows two beside each other

/** `aspects`: width by height of each picture; `least_width`: no tile is narrower, rather the page scrolls. */
export function layout(aspects: number[], width: number, height: number, least_width: number): Layout {
  if (!aspects.length || width <= 0 || height <= 0) return { rects: [], height: 0 };
  if (width < PHONE) return scrolled(aspects, aspects.length >= MANY ? 2 : 1, width);
  const fitting = aspects.map((_, index) => inRows(split(aspects, index + 1), width, height));
  const readable = fitting.filter(({ rects }) => rects.every((each) => each.width >= Math.min(least_width, width / 2)));
  if (readable.length) return centred(largest(readable), width, height);
  return scrolled(aspects, Math.max(1, Math.floor(width / least_width)), width);
}

const scrolled = (aspects: number[], columns: number, width: number): Layout =>
  inRows(split(aspects, Math.ceil(aspects.length / columns)), width, Infinity);

/** `count` rows as even as can be; the shorter ones, whose pictures are larger, stand on top. */
export function split(aspects: number[], count: number): number[][] {
  const short = Math.floor(aspects.length / count);
  const longer = aspects.length % count;
  const rows: number[][] = [];
  for (let row = 0, from = 0; row < count; row++) {
    const length = short + (row >= count - longer ? 1 : 0);
    rows.push(aspects.slice(from, from + length));
    from += length;
  }
  return rows;
}

function inRows(rows: number[][], width: number, most_height: number): Layout {
  const gaps = (rows.length - 1) * GAP;
  const heightAt = (row_width: number): number =>
    rows.reduce((sum, row) => sum + rowHeight(row, row_width), gaps);
  const natural = heightAt(width);
  const scale = natural > most_height ? (most_height - gaps) / (natural - gaps) : 1;
  return placed(rows, width * scale);
}

const rowHeight = (row: number[], width: number): number =>
  (width - (row.length - 1) * GAP) / row.reduce((sum, aspect) => sum + aspect, 0);

function placed(rows: number[][], width: number): Layout {
  const rects: Rect[] = [];
  let top = 0;
  for (const row of rows) {
    const height = rowHeight(row, width);
    let left = 0;
    for (const aspect of row) {
      rects.push({ left, top, width: aspect * height, height });
      left += aspect * height + GAP;
    }
    top += height + GAP;
  }
  return { rects, height: top - GAP };
}

const area = ({ rects }: Layout): number => rects.reduce((sum, { width, height }) => sum + width * height, 0);

const largest = (layouts: Layout[]): Layout => layouts.reduce((best, each) => (area(each) > area(best) ? each : best));

function centred({ rects, height: used }: Layout, width: number, height: number): Layout {
  const right = Math.max(...rects.map((each) => each.left + each.width));
  const [dx, dy] = [(width - right) / 2, Math.max(0, height - used) / 2];
  return { rects: rects.map((each) => ({ ...each, left: each.left + dx, top: each.top + dy })), height };
}
