// Pictures as JPEG over live.ws, with the results that belong to each (docs/http.md, "Pictures with results").

import { Following } from "../api/socket";
import type { Result } from "../api/types";
import { parted } from "./message";
import type { Player, PlayerEvents } from "./player";

const UNDER_WAY = 3; // pictures that the server may send before it has heard that they were shown

interface Head {
  number: number;
  pts_ns: number;
  captured_at_ns: number;
  results: Result[];
}

export class JpegPlayer implements Player {
  readonly delivery = "JPEG";
  readonly surface = "canvas";
  private following: Following | null = null;
  private waiting: ArrayBuffer | null = null;
  private is_drawing = false;
  private last_number = 0;
  private missed = 0;
  private readonly stream: string;

  constructor(stream: string) {
    this.stream = stream;
  }

  attach(element: HTMLCanvasElement, events: PlayerEvents): void {
    this.detach();
    const following = new Following(`/streams/${encodeURIComponent(this.stream)}/live.ws?window=${UNDER_WAY}`, {
      onMessage: (data) => this.take(data as ArrayBuffer, element, events),
      onLost: (reason) => {
        this.last_number = 0; // the server may count anew
        events.onLost(reason);
      },
    });
    this.following = following;
  }

  detach(): void {
    this.following?.close();
    this.following = null;
    this.waiting = null;
    this.last_number = 0;
  }

  /** The newest message waits while one is decoded; older ones are let go. */
  private take(data: ArrayBuffer, element: HTMLCanvasElement, events: PlayerEvents): void {
    this.waiting = data;
    if (!this.is_drawing) void this.drawAll(element, events);
  }

  private async drawAll(element: HTMLCanvasElement, events: PlayerEvents): Promise<void> {
    this.is_drawing = true;
    while (this.waiting) {
      const data = this.waiting;
      this.waiting = null;
      await this.draw(data, element, events);
    }
    this.is_drawing = false;
  }

  private async draw(data: ArrayBuffer, element: HTMLCanvasElement, events: PlayerEvents): Promise<void> {
    const [head, jpeg] = parted<Head>(data);
    const picture = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })).catch(() => null);
    this.following?.send(String(head.number));
    this.count(head.number);
    if (!this.following) return picture?.close();
    if (!picture) return events.onLost("a picture could not be decoded");
    const { width, height } = picture;
    paint(picture, element);
    const { pts_ns, captured_at_ns } = head;
    events.onFrame({ pts_ns, captured_at_ns, width, height, missed: this.missed });
    events.onResults(head.results);
  }

  private count(number: number): void {
    if (this.last_number) this.missed += Math.max(0, number - this.last_number - 1);
    this.last_number = number;
  }
}

function paint(picture: ImageBitmap, canvas: HTMLCanvasElement): void {
  const { width, height } = picture;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d", { alpha: false })?.drawImage(picture, 0, 0);
  picture.close();
}
