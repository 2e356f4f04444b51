// What processors saw, drawn on top of a picture at the screen's own resolution.

import type { Polygon, Result } from "../api/types";

const COLOURS = ["#ffc857", "#63d2ff", "#ff9ce0", "#a5ed7d", "#c8b0ff", "#ff9f6e"];
const SHADOW = "rgb(0 0 0 / .65)";

/** The colour of the layer of the n-th processor of a stream. */
export const colourOf = (index: number): string => COLOURS[index % COLOURS.length]!;

export interface Layer {
  processor: string;
  colour: string;
}

/** Clears `canvas`, fits it to its place on the screen, and draws the boxes of each layer. */
export function drawResults(canvas: HTMLCanvasElement, results: Result[], layers: Layer[]): void {
  const context = fitted(canvas);
  if (!context) return;
  for (const { processor, colour } of layers) {
    const boxes = results.find((each) => each.processor === processor)?.values["boxes"];
    if (Array.isArray(boxes)) drawBoxes(context, boxes as number[][], colour);
  }
}

function fitted(canvas: HTMLCanvasElement): CanvasRenderingContext2D | null {
  const width = Math.round(canvas.clientWidth * devicePixelRatio);
  const height = Math.round(canvas.clientHeight * devicePixelRatio);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context?.clearRect(0, 0, width, height);
  return context;
}

function drawBoxes(context: CanvasRenderingContext2D, boxes: number[][], colour: string): void {
  const { width, height } = context.canvas;
  for (const [style, line] of [[SHADOW, 4], [colour, 2]] as const) {
    context.strokeStyle = style;
    context.lineWidth = line * devicePixelRatio;
    context.lineJoin = "round";
    for (const [x = 0, y = 0, w = 0, h = 0] of boxes) context.strokeRect(x * width, y * height, w * width, h * height);
  }
}

/** For `points` of an SVG polygon in a box of 1000 by 1000. */
export const svgPoints = (polygon: Polygon): string => polygon.map(([x, y]) => `${x * 1000},${y * 1000}`).join(" ");
