// Live video as the camera sent it, decoded by the browser: by WebCodecs where it may, else by Media Source Extensions.
//
// A player calls show(picture, width, height, results, head) for each picture, and fail(why) once if it cannot go on.
// `place` is the element on the page that the canvas stands in.
import { Annotations } from "./annotations.js";
import { Following } from "./api.js";

const UNDER_WAY = 32;  // units that the server may send before it has heard that they were shown
const MOST_BEHIND = 4;  // so many units later than a picture, that is no longer shown
const MOST_HEADS = 512;
const WAIT_MS = 100;  // a picture waits so long for what processors see on it
const NEAR_S = 0.04, TARGET_S = 0.08, LATE_S = 0.3, LOST_S = 1, KEPT_S = 8;  // behind the newest picture, by MSE
const textOf = new TextDecoder();

function parts(data) {
  const length = new DataView(data).getUint32(0, true);
  return [JSON.parse(textOf.decode(new Uint8Array(data, 4, length))), new Uint8Array(data, 4 + length)];
}

const bytesOf = (hex) => Uint8Array.from(hex.match(/../g) || [], (pair) => parseInt(pair, 16));

class Player {
  constructor(name, form, { show, fail, place }) {
    Object.assign(this, { name, show, place, failed: false });
    this.fail = (why) => { if (!this.failed) { this.failed = true; this.close(); fail(why); } };
    this.annotations = new Annotations();
    this.video = new Following(`/streams/${name}/video.ws?form=${form}&window=${UNDER_WAY}`, { take: (data) => this.take(data) });
    this.results = new Following(`/streams/${name}/results.ws`, { take: (text) => { this.annotations.add(JSON.parse(text)); this.heard(); } });
  }

  heard() {}

  take(data) {
    if (typeof data === "string") this.begin(JSON.parse(data));
    else this.unit(...parts(data));
  }

  shown(number) {
    this.video.send(String(number));
  }

  close() {
    this.video.close();
    this.results.close();
  }
}

export class WebCodecsPlayer extends Player {
  static works = () => "VideoDecoder" in window;

  constructor(name, hooks) {
    super(name, "units", hooks);
    this.delivery = "WebCodecs";
    this.heads = new Map();  // by media time in us, of units that are being decoded
    this.waiting = [];  // decoded, until what was seen on them is known
  }

  async begin({ codec, description, width, height }) {
    const config = { codec, description: bytesOf(description), codedWidth: width, codedHeight: height, optimizeForLatency: true };
    this.reset();
    this.decoder = new VideoDecoder({ output: (frame) => this.decoded(frame), error: (error) => this.fail(error.message) });
    this.needsKey = true;
    try {
      this.decoder.configure(config);
      if (!(await VideoDecoder.isConfigSupported(config)).supported) this.fail(`${codec} is not supported`);
    } catch (error) {
      this.fail(error.message);
    }
  }

  unit(head, data) {
    if (!this.decoder || this.decoder.state !== "configured" || (this.needsKey && !head.key)) return;
    this.needsKey = false;
    const timestamp = Math.floor(head.pts_ns / 1000);
    this.heads.set(timestamp, head);
    try {
      this.decoder.decode(new EncodedVideoChunk({ type: head.key ? "key" : "delta", timestamp, data }));
    } catch (error) {
      this.fail(error.message);
    }
  }

  decoded(frame) {
    const head = this.heads.get(frame.timestamp);
    this.heads.delete(frame.timestamp);
    if (!head || this.failed) return frame.close();
    if (this.heads.size > MOST_BEHIND) {  // what came since the key frame is only decoded, and not played in haste
      this.shown(head.number);
      return frame.close();
    }
    this.waiting.push({ frame, head, until_ms: performance.now() + WAIT_MS });
    this.heard();
  }

  // Shows what need not wait any longer.
  heard() {
    clearTimeout(this.timer);
    while (this.waiting.length) {
      const { frame, head, until_ms } = this.waiting[0];
      const left_ms = until_ms - performance.now();
      if (left_ms > 0 && !this.annotations.ready(head.pts_ns)) {
        this.timer = setTimeout(() => this.heard(), left_ms);
        return;
      }
      this.waiting.shift();
      this.show(frame, frame.displayWidth, frame.displayHeight, this.annotations.take(head.pts_ns), head);
      frame.close();
      this.shown(head.number);
    }
  }

  reset() {
    clearTimeout(this.timer);
    for (const { frame } of this.waiting || []) frame.close();
    this.waiting = [];
    this.heads.clear();
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
  }

  close() {
    super.close();
    this.reset();
  }
}

export class MsePlayer extends Player {
  static works = () => "MediaSource" in window && "requestVideoFrameCallback" in HTMLVideoElement.prototype;

  constructor(name, hooks) {
    super(name, "mse", hooks);
    this.delivery = "MSE";
    this.heads = new Map();
  }

  begin({ codec }) {
    this.reset();
    const type = `video/mp4; codecs="${codec}"`;
    if (!MediaSource.isTypeSupported(type)) return this.fail(`${codec} is not supported`);
    // It is drawn on the canvas; where it stands itself it is not seen, but a browser plays only what is on the page.
    const element = (this.element = Object.assign(document.createElement("video"), { muted: true, playsInline: true, className: "behind" }));
    this.place.append(element);
    const source = (this.source = new MediaSource());
    this.queue = [];
    element.src = URL.createObjectURL(source);
    element.onerror = () => this.element === element && this.fail(element.error?.message || "the picture cannot be played");
    source.onsourceopen = () => {
      if (this.source !== source) return;
      this.buffer = source.addSourceBuffer(type);
      this.buffer.onupdateend = () => { if (this.source === source) { this.keepUp(); this.append(); } };
      this.append();
    };
    const next = (_, { mediaTime }) => {
      if (this.element !== element) return;
      this.present(Math.round(mediaTime * 1e6));
      element.requestVideoFrameCallback(next);
    };
    element.requestVideoFrameCallback(next);
  }

  unit(head, data) {
    if (!this.source) return;
    this.queue.push({ head, data });  // no longer than what may be under way, for only what is appended is said to be shown
    if (!head.init) {
      this.heads.set(Math.floor(head.pts_ns / 1000), head);
      if (this.heads.size > MOST_HEADS) this.heads.delete(this.heads.keys().next().value);
      this.edge_s = head.pts_ns / 1e9;
    }
    this.append();
  }

  append() {
    if (!this.buffer || this.buffer.updating || !this.queue.length || this.source.readyState !== "open") return;
    try {
      const { head, data } = this.queue.shift();
      this.buffer.appendBuffer(data);
      if (!head.init) this.shown(head.number);
    } catch (error) {
      this.fail(error.message);
    }
  }

  // A live picture is played near its newest frame, whatever has held it up.
  keepUp() {
    const { element, buffer } = this;
    if (!element.buffered.length) return;
    const first_s = element.buffered.start(element.buffered.length - 1);
    const behind_s = this.edge_s - element.currentTime;
    if (element.currentTime < first_s || behind_s > LOST_S || behind_s < -LOST_S)
      element.currentTime = Math.max(first_s, this.edge_s - TARGET_S);
    element.playbackRate = behind_s > LATE_S ? 1.25 : behind_s > TARGET_S ? 1.08 : behind_s < NEAR_S ? 0.95 : 1;
    if (element.paused) element.play().catch(() => {});
    if (element.currentTime - element.buffered.start(0) > 2 * KEPT_S) buffer.remove(0, element.currentTime - KEPT_S);  // ends in another update
  }

  present(pts_us) {
    const { element } = this;
    const head = this.heads.get(pts_us) || this.heads.get(pts_us - 1) || this.heads.get(pts_us + 1);
    if (!head) return;
    for (const at_us of this.heads.keys()) if (at_us < pts_us - 1e6) this.heads.delete(at_us);
    this.show(element, element.videoWidth, element.videoHeight, this.annotations.take(head.pts_ns), head);
  }

  reset() {
    if (this.element) {
      URL.revokeObjectURL(this.element.src);
      this.element.onerror = null;
      this.element.remove();
      this.element.removeAttribute("src");
      this.element.load();
    }
    this.element = this.source = this.buffer = null;
    this.heads?.clear();
  }

  close() {
    super.close();
    this.reset();
  }
}
