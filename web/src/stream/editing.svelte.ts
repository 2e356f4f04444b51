// The drawing of regions: which parameter is drawn at the moment, what stands on the picture, and the way back.

import type { Point, Polygon } from "../api/types";
import { MOST_POINTS, MOST_POLYGONS, snapped, without } from "../model/regions";

const MOST_STEPS_BACK = 100;

export interface Subject {
  worker: string;
  parameter: string;
  label: string;
  colour: string;
}

export class Drawing {
  polygons = $state.raw<Polygon[]>([]);
  /** The polygon that is worked on; -1 for none. */
  which = $state(-1);
  /** Points of a polygon that is not closed yet. */
  sketch = $state.raw<Polygon>([]);
  readonly subject: Subject;
  private before = $state.raw<Polygon[][]>([]);
  private readonly send: (polygons: Polygon[]) => void;

  constructor(subject: Subject, polygons: Polygon[], send: (polygons: Polygon[]) => void) {
    this.subject = subject;
    this.polygons = polygons;
    this.send = send;
  }

  get chosen(): Polygon | undefined {
    return this.polygons[this.which];
  }

  get can_undo(): boolean {
    return this.sketch.length > 0 || this.before.length > 0;
  }

  /** A change begins, to which a step back will lead. */
  begin(): void {
    this.before = [...this.before, this.polygons].slice(-MOST_STEPS_BACK);
  }

  /** Takes effect at once. */
  set(polygons: Polygon[]): void {
    this.polygons = polygons;
    this.send(polygons);
  }

  undo(): void {
    if (this.sketch.length) this.sketch = this.sketch.slice(0, -1);
    else this.back();
  }

  add(polygon: Polygon): void {
    if (polygon.length < 3 || this.polygons.length >= MOST_POLYGONS) return;
    this.begin();
    this.set([...this.polygons, polygon]);
    this.which = this.polygons.length - 1;
  }

  remove(): void {
    this.begin();
    this.set(without(this.polygons, this.which));
    this.which = -1;
  }

  extend(point: Point): void {
    if (this.sketch.length < MOST_POINTS) this.sketch = [...this.sketch, snapped(point, this.sketch.slice(-1))];
  }

  close(): void {
    this.add(this.sketch);
    this.sketch = [];
  }

  private back(): void {
    const polygons = this.before.at(-1);
    if (!polygons) return;
    this.before = this.before.slice(0, -1);
    this.which = Math.min(this.which, polygons.length - 1);
    this.set(polygons);
  }
}

class Editing {
  /** At most one: the picture has one owner at a time. */
  drawing = $state.raw<Drawing | null>(null);
}

export const editing = new Editing();
