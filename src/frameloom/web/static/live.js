// One live picture: JPEGs and results over a WebSocket, drawn together, so that a box is on the frame it belongs to.
import { Following } from "./api.js";

const UNDER_WAY = 3;  // pictures that the server may send before it has heard that they were shown
const ACCENT = "#ffc857", SHADOW = "rgb(0 0 0 / .7)";

export class Live {
  constructor(canvas, name, onResults) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.name = name;
    this.onResults = onResults;
    this.shown_ms = null;  // when the last picture was drawn
    this.waiting = null;
    this.drawing = false;
    canvas.setAttribute("aria-label", `Live picture of ${name}`);
    canvas.dataset.frames = "0";
    // A picture that nobody can see is not asked for: the camera may then stop decoding.
    this.toggle = () => (document.hidden ? this.pause() : this.resume());
    document.addEventListener("visibilitychange", this.toggle);
    this.toggle();
  }

  resume() {
    this.following ??= new Following(`/streams/${this.name}/live.ws?window=${UNDER_WAY}`, { take: (data) => this.take(data) });
  }

  pause() {
    this.following?.close();
    this.following = null;
    this.waiting = null;
  }

  close() {
    document.removeEventListener("visibilitychange", this.toggle);
    this.pause();
  }

  // Milliseconds since the last picture; null before the first.
  get age_ms() {
    return this.shown_ms === null ? null : performance.now() - this.shown_ms;
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
        this.show(picture, head);
        picture.close();
      } catch (error) {
        console.warn(`${this.name}: a picture could not be decoded`, error);
      }
      this.following?.send(String(head.number));
    }
    this.drawing = false;
  }

  show(picture, head) {
    const { canvas, context } = this;
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
      canvas.style.aspectRatio = `${picture.width} / ${picture.height}`;
    }
    context.drawImage(picture, 0, 0);
    for (const { values } of head.results) this.boxes(values.boxes || []);
    this.shown_ms = performance.now();
    canvas.dataset.frames = String(Number(canvas.dataset.frames) + 1);
    canvas.dataset.frameSeq = String(head.frame_seq);
    this.onResults(head.results);
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
