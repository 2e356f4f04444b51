// One live picture: JPEGs and results over a WebSocket, drawn together, so that a box is on the frame it belongs to.
import { follow } from "./api.js";

export class Live {
  constructor(canvas, name, onResults) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.name = name;
    this.onResults = onResults;
    this.waiting = null;
    this.drawing = false;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Live picture of ${name}`);
    canvas.dataset.frames = "0";
    // A picture that nobody can see is not asked for: the camera may then stop decoding.
    document.addEventListener("visibilitychange", () => this.toggle());
    this.toggle();
  }

  toggle() {
    if (document.hidden) this.close();
    else this.stop ??= follow(`/streams/${this.name}/live.ws`, { binary: (data) => this.take(data) });
  }

  close() {
    this.stop?.();
    this.stop = null;
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
    canvas.dataset.frames = String(Number(canvas.dataset.frames) + 1);
    canvas.dataset.frameSeq = String(head.frame_seq);
    this.onResults(head.results);
  }

  boxes(boxes) {
    const { canvas, context } = this;
    const line = Math.max(2, Math.round(canvas.width / 320));
    for (const [colour, width] of [["rgb(0 0 0 / .7)", line * 2], ["#ffc857", line]]) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      for (const [x, y, w, h] of boxes)
        context.strokeRect(x * canvas.width, y * canvas.height, w * canvas.width, h * canvas.height);
    }
  }
}
