// One <video> with one film: shows a frame of it, or plays it. It is drawn from, and not seen itself.

import { filmUrl } from "../api/recordings";
import type { Film } from "../model/footage";

const PATIENCE_MS = 8000;
const FRAME_MS = 150; // a frame that was sought is told of within this time, or is the one that was there
const GROWN_MS = 300; // a film that is being written is loaded again where it is longer by so much

export interface ReelEvents {
  /** A frame has come; `film_s` is its time in the film. */
  onFrame(reel: Reel, film_s: number): void;
  onEnd(reel: Reel): void;
}

export class Reel {
  readonly video: HTMLVideoElement;
  film: Film | null = null;
  /** Of the last frame. */
  film_s = 0;
  private camera = "";
  private loaded_end_ms = 0;
  private loads = 0;
  private readonly events: ReelEvents;

  constructor(host: HTMLElement, events: ReelEvents) {
    this.events = events;
    this.video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, ariaHidden: "true", preload: "auto", tabIndex: -1 });
    Object.assign(this.video.style, { position: "absolute", inset: "0", width: "100%", height: "100%", opacity: "0", zIndex: "-1", pointerEvents: "none" });
    host.append(this.video);
    this.video.onended = () => events.onEnd(this);
    this.follow();
  }

  has(camera: string, film: Film): boolean {
    return this.camera === camera && this.film?.id === film.id && this.video.error === null;
  }

  /** Shows the frame at `film_s`; false where that cannot be shown, or another film was asked for meanwhile. */
  async show(camera: string, film: Film, film_s: number): Promise<boolean> {
    const { video } = this;
    const is_longer = film.end_ms > this.loaded_end_ms + GROWN_MS && film_s * 1000 > this.loaded_end_ms - film.begin_ms - GROWN_MS;
    if (!this.has(camera, film) || is_longer) this.load(camera, film);
    const load = this.loads;
    if (video.readyState < HTMLMediaElement.HAVE_METADATA) await heard(video, ["loadedmetadata", "error", "abort"]);
    if (load !== this.loads || video.error || video.readyState < HTMLMediaElement.HAVE_METADATA) return false;
    await this.seek(film_s);
    return load === this.loads && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
  }

  async play(rate: number): Promise<void> {
    this.video.playbackRate = rate;
    await this.video.play().catch(() => undefined); // it was paused again before it could begin
  }

  close(): void {
    this.loads += 1;
    this.video.onended = null;
    this.video.remove();
    this.video.removeAttribute("src");
    this.video.load();
  }

  private load(camera: string, film: Film): void {
    this.loads += 1;
    Object.assign(this, { camera, film, loaded_end_ms: film.end_ms, film_s: 0 });
    // What grows must not come from what the browser has kept of it.
    this.video.src = filmUrl(camera, film.id) + (film.is_writing ? `?until=${Math.round(film.end_ms)}` : "");
  }

  private async seek(film_s: number): Promise<void> {
    const { video } = this;
    const last_s = Number.isFinite(video.duration) ? Math.max(0, video.duration - 0.001) : Infinity;
    const to_s = Math.min(Math.max(0, film_s), last_s);
    if (Math.abs(video.currentTime - to_s) < 1e-4 && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return;
    const frame = heardFrame(video);
    video.currentTime = to_s;
    await heard(video, ["seeked", "error", "emptied"]);
    await frame;
  }

  private follow(): void {
    const next = (_: number, { mediaTime }: { mediaTime: number }): void => {
      if (!this.video.isConnected) return;
      this.film_s = mediaTime;
      this.events.onFrame(this, mediaTime);
      this.video.requestVideoFrameCallback(next);
    };
    this.video.requestVideoFrameCallback(next);
  }
}

/** Until one of these events has come, or patience is at its end. */
function heard(video: HTMLVideoElement, names: string[]): Promise<void> {
  return new Promise((done) => {
    const stop = new AbortController();
    const finish = (): void => {
      stop.abort();
      clearTimeout(timer);
      done();
    };
    const timer = setTimeout(finish, PATIENCE_MS);
    for (const name of names) video.addEventListener(name, finish, { signal: stop.signal });
  });
}

/** Until a frame that was sought is told of. A page that nobody sees is told of none. */
function heardFrame(video: HTMLVideoElement): Promise<void> {
  return new Promise((done) => {
    const id = video.requestVideoFrameCallback(() => done());
    video.addEventListener("seeked", () => setTimeout(() => {
      video.cancelVideoFrameCallback(id);
      done();
    }, FRAME_MS), { once: true });
  });
}
