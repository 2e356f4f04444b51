// The rows of time as pictures: what is recorded as bars, gaps between them, events as marks with a shape of their own.

import { bars, marks, type Film, type Mark, type Moment } from "../model/footage";
import { overlaps, xOf, type Span, type Tick } from "../model/timeline";

export interface Palette {
  text: string;
  quiet: string;
  line: string;
  strong: string;
  chosen: string;
  recording: string;
  raised: string;
}

export interface Row {
  name: string;
  films: readonly Film[];
  moments: readonly Moment[];
  known: Span | null;
  is_recording: boolean;
  is_chosen: boolean;
}

export const RULER_PX = 28;
export const EVENT_REACH_PX = 9;
const [BAR_PX, MARK_PX, NOW_PX] = [14, 5, 32];

/** The canvas, at the screen's own resolution, empty. */
export function cleared(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const [wide, high] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  const context = canvas.getContext("2d")!;
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** `now_x`: where the word "now" stands. */
export function paintRuler(context: CanvasRenderingContext2D, span: Span, ticks: Tick[], width: number, now_x: number, { text, quiet, line }: Palette): void {
  context.font = `12px ${getComputedStyle(context.canvas).fontFamily}`;
  context.textBaseline = "middle";
  for (const { at_ms, label, is_day } of ticks) {
    const x = Math.round(xOf(span, width, at_ms));
    context.fillStyle = line;
    context.fillRect(x, is_day ? 0 : RULER_PX - 6, 1, RULER_PX);
    context.fillStyle = is_day ? text : quiet;
    const wide = context.measureText(label).width;
    const left = Math.min(Math.max(is_day ? x + 4 : x - wide / 2, 2), width - wide - 2);
    const now_left = now_x > width - NOW_PX ? now_x - NOW_PX : now_x;
    if (now_x < 0 || now_left + NOW_PX < left || now_left > left + wide + 4) context.fillText(label, left, RULER_PX / 2 - 1);
  }
}

export function paintRows(context: CanvasRenderingContext2D, rows: Row[], span: Span, ticks: Tick[], width: number, row_px: number, now_ms: number, palette: Palette): void {
  rows.forEach(({ is_chosen }, index) => {
    context.fillStyle = palette.raised;
    if (is_chosen) context.fillRect(0, index * row_px, width, row_px);
  });
  context.fillStyle = palette.line;
  for (const { at_ms, is_day } of ticks) context.fillRect(Math.round(xOf(span, width, at_ms)), 0, is_day ? 2 : 1, rows.length * row_px);
  rows.forEach((row, index) => paintRow(context, row, span, width, index * row_px, row_px, now_ms, palette));
}

function paintRow(context: CanvasRenderingContext2D, row: Row, span: Span, width: number, top: number, row_px: number, now_ms: number, palette: Palette): void {
  const y = top + Math.round(row_px * 0.5 - BAR_PX / 2) - 3;
  paintTrack(context, row, span, width, y, palette);
  context.fillStyle = row.is_chosen ? palette.chosen : palette.strong;
  for (const [left, right] of bars(row.films, span, width)) {
    const [from, to] = [Math.max(-4, left), Math.min(width + 4, right)];
    context.beginPath();
    context.roundRect(from, y, Math.max(1, to - from), BAR_PX, Math.min(3, (to - from) / 2));
    context.fill();
  }
  if (row.is_recording) paintGrowth(context, row, span, width, y, now_ms, palette);
  context.fillStyle = palette.text;
  for (const { at_ms, end_ms } of row.moments) {
    if (end_ms === null || end_ms < span.from_ms || at_ms > span.to_ms) continue;
    const [from, to] = [Math.max(0, xOf(span, width, at_ms)), Math.min(width, xOf(span, width, end_ms))];
    context.fillRect(from, y + BAR_PX + 1, Math.max(1, to - from), 1.5);
  }
  for (const mark of marks(row.moments, span, width, EVENT_REACH_PX)) paintMark(context, mark, y + BAR_PX + 3, palette);
}

/** Where nothing is recorded, a line; dotted where it is not known yet. */
function paintTrack(context: CanvasRenderingContext2D, { known }: Row, span: Span, width: number, y: number, { strong }: Palette): void {
  const [from, to] = known && overlaps(known, span) ? [xOf(span, width, known.from_ms), xOf(span, width, known.to_ms)] : [0, 0];
  const middle = Math.round(y + BAR_PX / 2) + 0.5;
  context.strokeStyle = strong;
  context.globalAlpha = 0.5;
  for (const [left, right, dashes] of [[0, from, [2, 6]], [Math.max(0, from), Math.min(width, to), []]] as const) {
    if (right <= left) continue;
    context.setLineDash([...dashes]);
    context.beginPath();
    context.moveTo(left, middle);
    context.lineTo(right, middle);
    context.stroke();
  }
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** What is being recorded reaches to now. */
function paintGrowth(context: CanvasRenderingContext2D, { films }: Row, span: Span, width: number, y: number, now_ms: number, { recording }: Palette): void {
  const open = films.findLast(({ is_writing }) => is_writing) ?? films.at(-1);
  const to = xOf(span, width, now_ms);
  if (!open || to < 0) return;
  const from = Math.max(-4, xOf(span, width, open.is_writing ? open.begin_ms : open.end_ms));
  context.fillStyle = recording;
  context.fillRect(from, y + BAR_PX - 4, Math.min(width, to) - from, 4);
  if (to > width) return;
  context.beginPath();
  context.arc(to, y + BAR_PX / 2, 5, 0, 2 * Math.PI);
  context.fill();
}

/** A triangle; a wider one with a base where there are several. */
function paintMark(context: CanvasRenderingContext2D, { x, moments }: Mark, y: number, { text }: Palette): void {
  context.fillStyle = text;
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + MARK_PX, y + 1.5 * MARK_PX);
  context.lineTo(x - MARK_PX, y + 1.5 * MARK_PX);
  context.fill();
  if (moments.length > 1) context.fillRect(x - MARK_PX, y + 1.5 * MARK_PX + 1, 2 * MARK_PX, 2);
}
