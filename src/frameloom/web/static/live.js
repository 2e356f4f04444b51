// One live picture with what processors saw on it, so that a box is on the frame it belongs to; by the best way that works.
import { Following } from "./api.js";
import { MsePlayer, WebCodecsPlayer } from "./players.js";

const UNDER_WAY = 3;  // pictures that the server may send before it has heard that they were shown
const ACCENT = "#ffc857", SHADOW = "rgb(0 0 0 / .7)";
const LOCAL = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
const WAYS = { webcodecs: WebCodecsPlayer, mse: MsePlayer };

// JPEG, for what plays nothing else: pictures and results in one message each.
class JpegPlayer {
  constructor(name, { show }) {
    Object.assign(this, { name, show, delivery: "JPEG", waiting: null, drawing: false });
    this.following = new Following(`/streams/${name}/live.ws?window=${UNDER_WAY}`, { take: (data) => this.take(data) });
  }

  // The newest message waits while one is decoded; older ones are let go.
  take(data) {
    this.waiting = data;
    if (!this.drawing) this.draw();
  }

  async draw() {
    this.drawing = true;
    while (this.waiting) {
      const data = this.waiting;
      this.waiting = null;
      const length = new DataView(data).getUint32(0, true);
      const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
      try {
        const picture = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
        this.show(picture, picture.width, picture.height, head.results, head);
        picture.close();
      } catch (error) {
        console.warn(`${this.name}: a picture could not be decoded`, error);
      }
      this.following.send(String(head.number));
    }
    this.drawing = false;
  }

  close() {
    this.following.close();
    this.waiting = null;
  }
}

export class Live {
  constructor(canvas, name, onResults) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.name = name;
    this.onResults = onResults;
    this.shown_ms = null;  // when the last picture was drawn
    this.delay_ms = 0;
    this.player = null;
    const asked = new URLSearchParams(location.search).get("player");
    this.ways = asked ? [WAYS[asked]].filter(Boolean) : Object.values(WAYS).filter((way) => way.works());
    canvas.setAttribute("aria-label", `Live picture of ${name}`);
    canvas.dataset.frames = "0";
    // A picture that nobody can see is not asked for: the camera may then stop decoding.
    this.toggle = () => (document.hidden ? this.pause() : this.resume());
    document.addEventListener("visibilitychange", this.toggle);
    this.toggle();
  }

  resume() {
    if (this.player) return;
    const Way = this.ways[0] || JpegPlayer;
    const show = (...picture) => this.player === player && this.show(...picture);
    const player = (this.player = new Way(this.name, { show, fail: (why) => this.tryNext(why), place: this.canvas.parentElement }));
    this.canvas.dataset.delivery = player.delivery;
  }

  tryNext(why) {
    console.warn(`${this.name}: ${this.player?.delivery} does not work: ${why}`);
    this.ways.shift();
    this.player = null;
    if (!document.hidden) this.resume();
  }

  pause() {
    this.player?.close();
    this.player = null;
  }

  close() {
    document.removeEventListener("visibilitychange", this.toggle);
    this.pause();
  }

  // Milliseconds since the last picture; null before the first.
  get age_ms() {
    return this.shown_ms === null ? null : performance.now() - this.shown_ms;
  }

  // By which way pictures come, and how old they are when they are shown, where one clock tells both.
  get delivery() {
    if (!this.player || this.shown_ms === null) return "";
    return LOCAL ? `${this.player.delivery}, ${Math.max(0, this.delay_ms).toFixed(0)} ms` : this.player.delivery;
  }

  show(picture, width, height, results, head) {
    const { canvas, context } = this;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      canvas.style.aspectRatio = `${width} / ${height}`;
    }
    context.drawImage(picture, 0, 0);
    for (const { values } of results) this.boxes(values.boxes || []);
    this.shown_ms = performance.now();
    const age_ms = performance.timeOrigin + performance.now() - head.captured_at_ns / 1e6;
    this.delay_ms += (age_ms - this.delay_ms) * (this.shown_ms === null ? 1 : 0.1);
    canvas.dataset.ageMs = age_ms.toFixed(1);
    canvas.dataset.frames = String(Number(canvas.dataset.frames) + 1);
    canvas.dataset.ptsNs = String(head.pts_ns);
    canvas.dataset.late = String(results.some(({ late }) => late));
    this.onResults(results);
  }

  boxes(boxes) {
    const { canvas, context } = this;
    const line = Math.max(2, Math.round(canvas.width / 320));
    for (const [colour, width] of [[SHADOW, line * 2], [ACCENT, line]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      for (const [x, y, w, h] of boxes)
        context.strokeRect(x * canvas.width, y * canvas.height, w * canvas.width, h * canvas.height);
    }
  }
}
