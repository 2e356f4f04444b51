// H.264 as the camera sent it, decoded by the browser (docs/http.md, "Video without transcoding"): by WebCodecs where the
// page may use it, else by Media Source Extensions. Both draw on the canvas, so that results belong to the frame shown.

import { Following } from "../api/socket";
import type { Result } from "../api/types";
import { Annotations } from "./annotations";
import { parted } from "./message";
import type { Player, PlayerEvents } from "./player";

const UNDER_WAY = 32; // units that the server may send before it has heard that they were shown
const MOST_BEHIND = 4; // so many units later than a picture, that is no longer shown
const MOST_HEADS = 512;
const WAIT_MS = 100; // a picture waits so long for what processors see on it
const [NEAR_S, TARGET_S, LATE_S, LOST_S, KEPT_S] = [0.04, 0.08, 0.3, 1, 8]; // behind the newest picture, by MSE

export interface Config {
  codec: string;
  width: number;
  height: number;
  description: string;
}

/** What is said of a unit, before its data. */
export interface Head {
  number: number;
  key: boolean;
  pts_ns: number;
  captured_at_ns: number;
  init?: boolean;
}

const bytesOf = (hex: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));

/** A picture that is ready to be shown. */
type Ready = CanvasImageSource & { close(): void };

export abstract class VideoPlayer implements Player {
  abstract readonly delivery: string;
  readonly surface = "canvas";
  protected annotations = new Annotations();
  protected canvas: HTMLCanvasElement | null = null;
  private events: PlayerEvents | null = null;
  private video: Following | null = null;
  private results: Following | null = null;
  private last_number = 0;
  private missed = 0;
  protected readonly path: string;
  private readonly form: string;
  private held: Held[] = []; // until what was seen on them is known
  private timer = 0;

  constructor(stream: string, form: "units" | "mse" | "times") {
    this.path = `/streams/${encodeURIComponent(stream)}`;
    this.form = form;
  }

  attach(element: HTMLCanvasElement, events: PlayerEvents): void {
    this.detach();
    this.canvas = element;
    this.events = events;
    this.annotations = new Annotations();
    this.video = new Following(`${this.path}/video.ws?form=${this.form}&window=${UNDER_WAY}`, {
      onMessage: (data) => this.take(data),
      onLost: (reason) => this.lose(reason),
    });
    this.results = new Following(`${this.path}/results.ws`, {
      onMessage: (data) => {
        this.annotations.add(JSON.parse(data as string) as Result & { pts_ns: number });
        this.heard();
      },
    });
  }

  detach(): void {
    this.video?.close();
    this.results?.close();
    this.video = this.results = this.events = null;
    this.last_number = 0;
    this.reset();
  }

  /** What a decoder must know; it may come again. */
  protected abstract begin(config: Config): void;
  protected abstract unit(head: Head, data: Uint8Array<ArrayBuffer>): void;
  protected abstract reset(): void;

  /** Show a picture as soon as what was seen on it is known, or it has waited long enough. It is closed then. */
  protected hold(picture: Ready, width: number, height: number, head: Head): void {
    this.held.push({ picture, width, height, head, until_ms: performance.now() + WAIT_MS });
    this.heard();
  }

  /** Whether all that belongs to it is known, so that it may be shown at once. */
  protected isReady({ pts_ns }: Head): boolean {
    return !this.held.length && this.annotations.isReady(pts_ns);
  }

  /** Forget what has not been shown. */
  protected release(): void {
    clearTimeout(this.timer);
    this.held.forEach(({ picture }) => picture.close());
    this.held = [];
  }

  /** Shows what need not wait any longer. */
  private heard(): void {
    clearTimeout(this.timer);
    for (let next = this.held[0]; next; next = this.held[0]) {
      const { picture, width, height, head, until_ms } = next;
      const left_ms = until_ms - performance.now();
      if (left_ms > 0 && !this.annotations.isReady(head.pts_ns)) {
        this.timer = window.setTimeout(() => this.heard(), left_ms);
        return;
      }
      this.held.shift();
      this.show(picture, width, height, head);
      picture.close();
      this.acknowledge(head.number);
    }
  }

  protected show(picture: CanvasImageSource, width: number, height: number, head: Head): void {
    if (!this.canvas || !this.events) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.canvas.getContext("2d", { alpha: false })?.drawImage(picture, 0, 0, width, height);
    this.count(head.number);
    const { pts_ns, captured_at_ns } = head;
    this.events.onFrame({ pts_ns, captured_at_ns, width, height, missed: this.missed });
    this.events.onResults(this.annotations.take(pts_ns));
  }

  protected acknowledge(number: number): void {
    this.video?.send(String(number));
  }

  /** What is drawn on the canvas; itself it is not seen, but a browser plays only what is on the page. */
  protected hiddenVideo(): HTMLVideoElement {
    const element = Object.assign(document.createElement("video"), { muted: true, playsInline: true, ariaHidden: "true" });
    Object.assign(element.style, { position: "absolute", inset: "0", width: "100%", height: "100%", opacity: "0", zIndex: "-1", pointerEvents: "none" });
    this.canvas?.parentElement?.append(element);
    return element;
  }

  protected giveUp(why: string): void {
    const { events } = this;
    this.detach();
    events?.onUnfit(why);
  }

  private take(data: string | ArrayBuffer): void {
    if (typeof data === "string") return this.begin(JSON.parse(data) as Config);
    const [head, rest] = parted<Head>(data);
    this.unit(head, rest);
  }

  private lose(reason: string): void {
    this.last_number = 0; // the server may count anew
    this.events?.onLost(reason);
  }

  private count(number: number): void {
    if (this.last_number) this.missed += Math.max(0, number - this.last_number - 1);
    this.last_number = number;
  }
}

interface Held {
  picture: Ready;
  width: number;
  height: number;
  head: Head;
  until_ms: number;
}

export class WebCodecsPlayer extends VideoPlayer {
  static readonly works = (): boolean => "VideoDecoder" in window;

  readonly delivery = "WebCodecs";
  private decoder: VideoDecoder | null = null;
  private needs_key = true;
  private heads = new Map<number, Head>(); // by media time in us, of units that are being decoded

  constructor(stream: string) {
    super(stream, "units");
  }

  protected override begin({ codec, description, width, height }: Config): void {
    this.reset();
    const config: VideoDecoderConfig = {
      codec, description: bytesOf(description), codedWidth: width, codedHeight: height, optimizeForLatency: true,
    };
    void this.configure(config);
  }

  private async configure(config: VideoDecoderConfig): Promise<void> {
    this.decoder = new VideoDecoder({ output: (frame) => this.decoded(frame), error: (error) => this.giveUp(error.message) });
    this.needs_key = true;
    try {
      this.decoder.configure(config);
      if (!(await VideoDecoder.isConfigSupported(config)).supported) this.giveUp(`${config.codec} is not supported`);
    } catch (error) {
      this.giveUp(String(error));
    }
  }

  protected override unit(head: Head, data: Uint8Array<ArrayBuffer>): void {
    if (this.decoder?.state !== "configured" || (this.needs_key && !head.key)) return;
    this.needs_key = false;
    const timestamp = Math.floor(head.pts_ns / 1000);
    this.heads.set(timestamp, head);
    try {
      this.decoder.decode(new EncodedVideoChunk({ type: head.key ? "key" : "delta", timestamp, data }));
    } catch (error) {
      this.giveUp(String(error));
    }
  }

  private decoded(frame: VideoFrame): void {
    const head = this.heads.get(frame.timestamp);
    this.heads.delete(frame.timestamp);
    if (!head) return frame.close();
    if (this.heads.size > MOST_BEHIND) {
      // What came since the key frame is only decoded, and not played in haste.
      this.acknowledge(head.number);
      return frame.close();
    }
    this.hold(frame, frame.displayWidth, frame.displayHeight, head);
  }

  protected override reset(): void {
    this.release();
    this.heads.clear();
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
  }
}

export class MsePlayer extends VideoPlayer {
  static readonly works = (): boolean =>
    "MediaSource" in window && "requestVideoFrameCallback" in HTMLVideoElement.prototype;

  readonly delivery = "MSE";
  private element: HTMLVideoElement | null = null;
  private source: MediaSource | null = null;
  private buffer: SourceBuffer | null = null;
  private queue: { head: Head; data: Uint8Array<ArrayBuffer> }[] = [];
  private heads = new Map<number, Head>();
  private edge_s = 0;

  constructor(stream: string) {
    super(stream, "mse");
  }

  protected override begin({ codec }: Config): void {
    this.reset();
    const type = `video/mp4; codecs="${codec}"`;
    if (!MediaSource.isTypeSupported(type)) return this.giveUp(`${codec} is not supported`);
    const source = new MediaSource();
    this.source = source;
    this.element = this.newElement(source);
    source.onsourceopen = () => this.source === source && this.open(source, type);
  }

  private newElement(source: MediaSource): HTMLVideoElement {
    const element = this.hiddenVideo();
    element.src = URL.createObjectURL(source);
    element.onerror = () => this.element === element && this.giveUp(element.error?.message ?? "the picture cannot be played");
    const next = (_: number, { mediaTime }: { mediaTime: number }): void => {
      if (this.element !== element) return;
      this.present(element, Math.round(mediaTime * 1e6));
      element.requestVideoFrameCallback(next);
    };
    element.requestVideoFrameCallback(next);
    return element;
  }

  private open(source: MediaSource, type: string): void {
    const buffer = source.addSourceBuffer(type);
    this.buffer = buffer;
    buffer.onupdateend = () => {
      if (this.source !== source || !this.element) return;
      this.keepUp(this.element, buffer);
      this.append();
    };
    this.append();
  }

  protected override unit(head: Head, data: Uint8Array<ArrayBuffer>): void {
    if (!this.source) return;
    // No longer than what may be under way: only what is appended is said to be shown.
    this.queue.push({ head, data });
    if (!head.init) this.expect(head);
    this.append();
  }

  private expect(head: Head): void {
    this.heads.set(Math.floor(head.pts_ns / 1000), head);
    const [oldest] = this.heads.keys();
    if (this.heads.size > MOST_HEADS && oldest !== undefined) this.heads.delete(oldest);
    this.edge_s = head.pts_ns / 1e9;
  }

  private append(): void {
    if (!this.buffer || this.buffer.updating || this.source?.readyState !== "open") return;
    const next = this.queue.shift();
    if (!next) return;
    try {
      this.buffer.appendBuffer(next.data);
      if (!next.head.init) this.acknowledge(next.head.number);
    } catch (error) {
      this.giveUp(String(error));
    }
  }

  /** A live picture is played near its newest frame, whatever has held it up. */
  private keepUp(element: HTMLVideoElement, buffer: SourceBuffer): void {
    const { buffered } = element;
    if (!buffered.length) return;
    const first_s = buffered.start(buffered.length - 1);
    const behind_s = this.edge_s - element.currentTime;
    if (element.currentTime < first_s || Math.abs(behind_s) > LOST_S)
      element.currentTime = Math.max(first_s, this.edge_s - TARGET_S);
    element.playbackRate = behind_s > LATE_S ? 1.25 : behind_s > TARGET_S ? 1.08 : behind_s < NEAR_S ? 0.95 : 1;
    if (element.paused) element.play().catch(() => undefined);
    if (element.currentTime - buffered.start(0) > 2 * KEPT_S) buffer.remove(0, element.currentTime - KEPT_S);
  }

  private present(element: HTMLVideoElement, pts_us: number): void {
    const head = this.heads.get(pts_us) ?? this.heads.get(pts_us - 1) ?? this.heads.get(pts_us + 1);
    if (!head) return;
    for (const at_us of this.heads.keys()) if (at_us < pts_us - 1e6) this.heads.delete(at_us);
    this.show(element, element.videoWidth, element.videoHeight, head);
  }

  protected override reset(): void {
    if (this.element) {
      URL.revokeObjectURL(this.element.src);
      this.element.onerror = null;
      this.element.remove();
      this.element.removeAttribute("src");
      this.element.load();
    }
    this.element = this.source = this.buffer = null;
    this.queue = [];
    this.heads.clear();
  }
}
