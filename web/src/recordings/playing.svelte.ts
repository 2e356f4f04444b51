// Plays what is recorded of a camera, from film to film: while one is shown, the next one is made ready in the other
// <video>, and frames of both are drawn on one canvas, so that no break is seen and what was seen belongs to its frame.

import { resultsOf } from "../api/recordings";
import { drawResults, type Layer } from "../live/overlay";
import { FilmResults } from "../model/filmresults";
import { filmAfter, filmAt, filmBefore, SAME_MS, type Film } from "../model/footage";
import { Newest } from "../model/newest";
import { duration } from "../model/words";
import type { Library } from "./library.svelte";
import { Reel, type ReelEvents } from "./reel";

export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8, 16];

const AHEAD_S = 5; // so long before its end the next film is made ready
const INSIDE_S = 0.0005; // a frame's own time is sought a little later: times in films are rounded
const USUAL_FRAME_S = 0.04;
const MOST_STEPS = 12; // frames that come at any distance are looked for so many times
const MARGIN_MS = 60_000;
const NOTE_MS = 4000;
const CODECS: Record<string, string> = { hevc: "H.265", mjpeg: "JPEG", h264: "H.264" };

export interface ShownFrame {
  film: Film;
  film_s: number;
  at_ms: number;
  width: number;
  height: number;
}

interface Wish {
  camera: string;
  at_ms: number;
}

export class Playing implements ReelEvents {
  camera = $state("");
  /** What is looked at, or is to be: ms since 1970. */
  at_ms = $state(0);
  /** The frame on the canvas; null where there is none for this time. */
  shown = $state.raw<ShownFrame | null>(null);
  is_playing = $state(false);
  is_loading = $state(false);
  speed = $state(1);
  /** What goes wrong with the film. */
  problem = $state("");
  /** What has just happened, for a while. */
  note = $state("");
  /** Who saw something in this film. */
  processors = $state.raw<readonly string[]>([]);
  layers: Layer[] = [];

  private readonly library: Library;
  private readonly seeks = new Newest<Wish>((wish) => this.show(wish));
  private reels: Reel[] = [];
  private front: Reel | null = null;
  private canvas: HTMLCanvasElement | null = null;
  private overlay: HTMLCanvasElement | null = null;
  private results: { key: string; seen: FilmResults | null } = { key: "", seen: null };
  private reading = new AbortController();
  private frames = 0;
  private is_stepping = false;
  private note_timer = 0;

  constructor(library: Library) {
    this.library = library;
  }

  /** Draw on these; gives the function that ends it. */
  on(host: HTMLElement, canvas: HTMLCanvasElement, overlay: HTMLCanvasElement): () => void {
    Object.assign(this, { canvas, overlay });
    this.reels = [new Reel(host, this), new Reel(host, this)];
    if (this.camera) this.seek(this.at_ms);
    return () => {
      this.pause();
      clearTimeout(this.note_timer);
      this.reading.abort();
      this.reels.forEach((reel) => reel.close());
      this.reels = [];
      this.front = null;
    };
  }

  /** Show this moment; while one is sought, only the newest of those that follow is kept. */
  seek(at_ms: number, camera = this.camera): void {
    if (camera !== this.camera) this.shown = null;
    Object.assign(this, { camera, at_ms });
    this.seeks.put({ camera, at_ms });
  }

  play(): void {
    if (!this.camera) return;
    this.is_playing = true;
    if (this.shown) void this.front?.play(this.speed);
    else this.skipFrom(this.at_ms);
  }

  pause(): void {
    this.is_playing = false;
    this.reels.forEach(({ video }) => video.pause());
  }

  toggle(): void {
    if (this.is_playing) this.pause();
    else this.play();
  }

  faster(by: number): void {
    this.setSpeed(SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, SPEEDS.indexOf(this.speed) + by))]!);
  }

  setSpeed(speed: number): void {
    this.speed = speed;
    if (this.front) this.front.video.playbackRate = speed;
  }

  /** To the next frame, or the one before; over the ends of films. */
  async step(direction: 1 | -1): Promise<void> {
    this.pause();
    if (this.is_stepping || !this.shown || !this.front) return;
    this.is_stepping = true;
    await this.stepIn(this.front, this.shown, direction);
    this.is_stepping = false;
  }

  redraw(): void {
    if (this.overlay) drawResults(this.overlay, this.shown ? (this.results.seen?.at(this.shown.film_s) ?? []) : [], this.layers);
  }

  /** The frame as a picture. */
  picture(): Promise<Blob | null> {
    return new Promise((done) => (this.shown && this.canvas ? this.canvas.toBlob(done, "image/jpeg", 0.92) : done(null)));
  }

  onFrame(reel: Reel, film_s: number): void {
    if (reel !== this.front || !reel.film) return;
    this.draw(reel, film_s);
    if (!this.is_playing) return;
    this.at_ms = this.shown!.at_ms;
    if ((reel.film.end_ms - this.at_ms) / 1000 / this.speed < AHEAD_S) this.prepare(reel.film);
  }

  onEnd(reel: Reel): void {
    if (reel === this.front && this.is_playing && reel.film) void this.goOn(reel.film);
  }

  private get films(): readonly Film[] {
    return this.library.of(this.camera).films;
  }

  private async show({ camera, at_ms }: Wish): Promise<void> {
    const footage = this.library.of(camera);
    const near = { from_ms: at_ms - MARGIN_MS, to_ms: at_ms + MARGIN_MS };
    this.is_loading = true;
    if (!footage.covers(near, Date.now())) await footage.ask(near);
    const film = filmAt(footage.films, at_ms);
    this.problem = "";
    if (film) await this.showIn(camera, film, (at_ms - film.begin_ms) / 1000);
    else this.showNothing();
    this.is_loading = false;
  }

  private async showIn(camera: string, film: Film, film_s: number): Promise<void> {
    const reel = this.reels.find((each) => each.has(camera, film)) ?? this.other;
    if (!reel) return;
    if (reel !== this.front) this.front?.video.pause();
    const good = await reel.show(camera, film, film_s + INSIDE_S);
    if (camera !== this.camera || !this.reels.includes(reel)) return;
    if (!good) return this.refuse(film);
    this.take(reel);
  }

  /** From now on it is what is seen. */
  private take(reel: Reel): void {
    this.front = reel;
    this.draw(reel, reel.film_s);
    if (!this.seeks.is_waiting && this.shown) this.at_ms = this.shown.at_ms;
    if (this.is_playing) void reel.play(this.speed);
  }

  private get other(): Reel | undefined {
    return this.reels.find((each) => each !== this.front);
  }

  private showNothing(): void {
    this.front?.video.pause();
    this.shown = null;
    this.redraw();
    if (this.is_playing) this.skipFrom(this.at_ms);
  }

  private refuse({ codec, mime }: Film): void {
    this.pause();
    this.shown = null;
    const name = CODECS[codec] ?? codec;
    this.problem =
      codec === "h264" || (mime && document.createElement("video").canPlayType(mime))
        ? "The film cannot be loaded. It may have been deleted, or the server does not answer."
        : `This browser cannot play ${name}. Export the time that you need: players like VLC show it.`;
  }

  private skipFrom(at_ms: number): void {
    const next = filmAt(this.films, at_ms) ?? this.films.find(({ begin_ms }) => begin_ms > at_ms);
    if (!next) return this.stopAtEnd();
    this.say(next.begin_ms > at_ms ? `Skipped ${duration((next.begin_ms - at_ms) / 1000)} without a recording` : "");
    this.seek(Math.max(at_ms, next.begin_ms));
  }

  private stopAtEnd(): void {
    this.pause();
    this.say("Nothing is recorded after this");
  }

  private prepare(film: Film): void {
    const next = filmAfter(this.films, film);
    const { other } = this;
    if (next && other && !other.has(this.camera, next)) void other.show(this.camera, next, 0);
  }

  /** A film is at its end. */
  private async goOn(film: Film): Promise<void> {
    const { camera } = this;
    if (film.is_writing) await this.library.of(camera).renew(Date.now());
    const grown = this.films.find(({ id }) => id === film.id);
    if (camera !== this.camera || !this.is_playing) return;
    if (grown && film.is_writing && grown.end_ms > film.end_ms + SAME_MS) return this.seek(this.at_ms + 1);
    const next = filmAfter(this.films, film);
    if (!next) return this.stopAtEnd();
    if (next.begin_ms - film.end_ms > SAME_MS) this.say(`Skipped ${duration((next.begin_ms - film.end_ms) / 1000)} without a recording`);
    await this.showIn(camera, next, 0);
  }

  private async stepIn(reel: Reel, { film, film_s }: ShownFrame, direction: 1 | -1): Promise<void> {
    const length_s = (film.end_ms - film.begin_ms) / 1000;
    const frame_s = film.frames > 1 ? length_s / film.frames : USUAL_FRAME_S;
    for (let tries = 1; tries <= MOST_STEPS; tries++) {
      const to_s = film_s + direction * frame_s * tries + frame_s / 4;
      if (to_s < 0 || to_s >= length_s) return this.stepOver(film, direction);
      if (!(await reel.show(this.camera, film, to_s)) || Math.abs(reel.film_s - film_s) > 1e-4) break;
    }
    this.take(reel);
  }

  private async stepOver(film: Film, direction: 1 | -1): Promise<void> {
    const next = direction > 0 ? filmAfter(this.films, film) : filmBefore(this.films, film.begin_ms);
    if (next) await this.showIn(this.camera, next, direction > 0 ? 0 : (next.end_ms - next.begin_ms) / 1000);
  }

  private draw(reel: Reel, film_s: number): void {
    const { canvas } = this;
    const { film, video } = reel;
    const { videoWidth: width, videoHeight: height } = video;
    if (!canvas || !film || !width) return;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d", { alpha: false })?.drawImage(video, 0, 0, width, height);
    this.shown = { film, film_s, at_ms: film.begin_ms + film_s * 1000, width, height };
    Object.assign(canvas.dataset, { film: film.id, filmS: film_s.toFixed(4), frames: String(++this.frames) });
    this.readResults(film);
    this.redraw();
  }

  private readResults(film: Film): void {
    const key = `${this.camera} ${film.id} ${film.is_writing ? film.end_ms : ""}`;
    if (key === this.results.key) return;
    this.reading.abort();
    this.reading = new AbortController();
    this.results = { key, seen: null };
    this.processors = [];
    if (film.has_results) void this.fetchResults(key, film.id, this.reading.signal);
  }

  private async fetchResults(key: string, id: string, signal: AbortSignal): Promise<void> {
    const text = await resultsOf(this.camera, id, signal).catch(() => "");
    if (key !== this.results.key) return;
    const seen = new FilmResults(text);
    this.results = { key, seen };
    this.processors = seen.processors;
    this.redraw();
  }

  /** Tell for a while what has happened. */
  say(note: string): void {
    this.note = note;
    clearTimeout(this.note_timer);
    this.note_timer = window.setTimeout(() => (this.note = ""), NOTE_MS);
  }
}
