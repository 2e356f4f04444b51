// A live picture on the page: its player, what is drawn on it, and what can be said of it.

import type { Result } from "../api/types";
import { drawResults, type Layer } from "./overlay";
import type { Player, PlayerEvents, PlayerFactory, Shown } from "./player";
import { waysHere } from "./ways";

const FIGURES_EVERY_MS = 500;
const AGAIN_MS = 5000;
const MOST_LATENCY_MS = 60_000; // more than that is another clock
const IS_SAME_MACHINE = /^(localhost|127\..*|\[::1\])$/.test(location.hostname);

export class Watching implements PlayerEvents {
  /** Of the last picture; null before the first. */
  shown = $state.raw<Shown | null>(null);
  /** Age of the last picture, brought up to date twice a second; null before the first. */
  age_ms = $state<number | null>(null);
  /** From the capture to the screen, median of the last pictures; null where the clocks cannot be compared. */
  latency_ms = $state<number | null>(null);
  layers: Layer[] = [];
  /** Called with each picture's results. */
  listener: ((results: Result[], shown: Shown) => void) | null = null;

  /** The one at work: the best of those that have not proved unfit. */
  player: Player;
  private readonly stream: string;
  private readonly ways: PlayerFactory[];
  private is_on = false;
  private pictures = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private picture: HTMLCanvasElement | null = null;
  private overlay: HTMLCanvasElement | null = null;
  private newest: Shown | null = null;
  private results: Result[] = [];
  private newest_ms = 0;
  private latencies: number[] = [];

  /** `ways`: how it may come here, the best first. */
  constructor(stream: string, ways: PlayerFactory[] = waysHere()) {
    this.stream = stream;
    this.ways = [...ways];
    this.player = $state.raw(this.ways[0]!(stream));
  }

  /** Show the stream while the elements are seen; gives the function that ends it. */
  on(picture: HTMLCanvasElement, overlay: HTMLCanvasElement): () => void {
    Object.assign(this, { picture, overlay });
    const timer = setInterval(() => this.tell(), FIGURES_EVERY_MS);
    const stop = whileSeen(picture, () => this.begin(picture), () => this.end());
    return () => {
      clearInterval(timer);
      stop();
    };
  }

  onFrame(shown: Shown): void {
    const is_first = this.newest === null;
    this.newest = shown;
    this.newest_ms = performance.now();
    if (shown.captured_at_ns !== null) this.noteLatency(utcMs() - shown.captured_at_ns / 1e6);
    this.mark(shown);
    if (is_first) this.tell();
  }

  onResults(results: Result[]): void {
    this.results = results;
    this.redraw();
    if (this.newest) this.listener?.(results, this.newest);
  }

  onLost(): void {
    this.tell();
  }

  onUnfit(why: string): void {
    console.info(`${this.stream}: ${this.player.delivery} does not work here: ${why}`);
    if (this.ways.length === 1) return this.tryLater();
    this.ways.shift();
    this.player = this.ways[0]!(this.stream);
    if (this.is_on && this.picture) this.player.attach(this.picture, this);
  }

  redraw(): void {
    if (this.overlay) drawResults(this.overlay, this.results, this.layers);
  }

  /** There is no other way; this one may work then. */
  private tryLater(): void {
    this.tell();
    this.retry = setTimeout(() => this.picture && this.player.attach(this.picture, this), AGAIN_MS);
  }

  private begin(picture: HTMLCanvasElement): void {
    this.newest_ms = performance.now(); // what was missed while nobody looked is no trouble
    this.is_on = true;
    this.player.attach(picture, this);
  }

  private end(): void {
    this.is_on = false;
    clearTimeout(this.retry);
    this.player.detach();
  }

  /** For who looks on from outside, as tests do. */
  private mark({ pts_ns, captured_at_ns }: Shown): void {
    const age_ms = captured_at_ns === null ? "" : (utcMs() - captured_at_ns / 1e6).toFixed(1);
    const marks = { frames: String(++this.pictures), ptsNs: String(pts_ns), delivery: this.player.delivery, ageMs: age_ms };
    if (this.picture) Object.assign(this.picture.dataset, marks);
  }

  private noteLatency(ms: number): void {
    this.latencies = [...this.latencies.slice(-24), ms];
  }

  private tell(): void {
    this.shown = this.newest;
    this.age_ms = this.newest ? performance.now() - this.newest_ms : null;
    const median = [...this.latencies].sort((a, b) => a - b)[this.latencies.length >> 1];
    const is_known = IS_SAME_MACHINE && median !== undefined && median >= 0 && median < MOST_LATENCY_MS;
    this.latency_ms = is_known ? median : null;
  }
}

/** Finer than `Date.now()`, and brought up to date where the clock was set since the page was loaded. */
function utcMs(): number {
  const fine_ms = performance.timeOrigin + performance.now();
  return Math.abs(fine_ms - Date.now()) < 5 ? fine_ms : Date.now();
}

/** A picture that nobody can see is not asked for: the camera may then stop decoding. */
function whileSeen(element: Element, begin: () => void, end: () => void): () => void {
  let [is_near, is_on] = [false, false];
  const decide = (): void => {
    const wanted = is_near && !document.hidden;
    if (wanted === is_on) return;
    is_on = wanted;
    if (wanted) begin();
    else end();
  };
  const observer = new IntersectionObserver((entries) => {
    is_near = entries.at(-1)?.isIntersecting ?? false;
    decide();
  });
  observer.observe(element);
  document.addEventListener("visibilitychange", decide);
  return () => {
    observer.disconnect();
    document.removeEventListener("visibilitychange", decide);
    if (is_on) end();
  };
}
