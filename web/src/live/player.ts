// What shows a live stream, however it gets here. One player per stream and place on the page.

import type { Result } from "../api/types";

/** A picture that is on the screen now. */
export interface Shown {
  /** Media time, ns: the key of results. */
  pts_ns: number;
  /** When it was captured, ns since 1970, by the server's clock; null where that is not known. */
  captured_at_ns: number | null;
  width: number;
  height: number;
  /** Pictures that this viewer has missed so far. */
  missed: number;
}

export interface PlayerEvents {
  /** A picture has just been put on the screen. Called in the same task, so that what is drawn on top belongs to it. */
  onFrame(shown: Shown): void;
  /** What processors saw on that picture (or last before it); called right after `onFrame`. */
  onResults(results: Result[]): void;
  /** Pictures stopped coming; the player tries again by itself. */
  onLost(reason: string): void;
  /** This way does not work here, and the player has let go: another is to be taken. */
  onUnfit(why: string): void;
}

export interface Player {
  /** What a person reads: "JPEG", "WebRTC", ... */
  readonly delivery: string;
  /** The element that it draws on. */
  readonly surface: "canvas" | "video";
  /** Begin to show the stream on `element`, which is of the kind `surface`. */
  attach(element: HTMLCanvasElement | HTMLVideoElement, events: PlayerEvents): void;
  /** Stop, and let go of the connection. The last picture stays; `attach` may follow again. */
  detach(): void;
}

/** How a stream is shown here: the best way that works comes first. */
export type PlayerFactory = (stream: string) => Player;
