// A camera's tile: its live picture, and below or beside it the camera and the processors that look at it.
import { copyOf, number, put, say, time } from "./dom.js";
import { Form } from "./form.js";
import { Live } from "./live.js";
import { Worker } from "./worker.js";

const STALE_MS = 3000, VALUES_EVERY_MS = 250;

export class Camera {
  constructor(name) {
    this.root = copyOf("camera-template").firstElementChild;
    this.root.dataset.name = name;
    this.find = (selector) => this.root.querySelector(selector);
    this.worker = new Worker(this.find(".worker"), name, "h2");
    this.worker.detail = () => {};  // it stands on the picture
    this.processors = new Map();
    this.live = new Live(this.find("canvas"), name, (results) => this.say(results));
  }

  update(camera, view, processors) {
    Object.assign(this, { camera, view });
    this.worker.update(camera);
    put(this.find(".delivery"), this.live.delivery);
    this.notice();
    for (const [name, worker] of Object.entries(processors)) {
      if (!this.processors.has(name)) this.add(name);
      this.processors.get(name).update(worker);
    }
    for (const [name, processor] of this.processors)
      if (!(name in processors)) { processor.root.remove(); this.processors.delete(name); }
  }

  add(name) {
    const processor = new Processor(name);
    this.processors.set(name, processor);
    this.find(".processors").append(processor.root);
  }

  // What stands in the way of a picture, in words, on the last one that there was.
  notice(disconnected = "") {
    const text = disconnected || this.reason();
    say(this.find(".notice"), text);
    this.find(".picture").classList.toggle("old", Boolean(text));
    this.find(".picture").classList.toggle("empty", this.live.age_ms === null);
  }

  reason() {
    const { camera, view } = this;
    const detail = camera.detail || camera.report?.detail || "";
    const words = {
      idle: detail && detail !== "not started" ? detail : "stopped",
      starting: detail || "starting",
      stopping: "stopping",
      degraded: this.since(detail),
      backoff: this.since("its process has ended, and is started again"),
      failed: "failed; what it says is below",
    };
    return camera.state === "running" ? this.reasonOfView(view) : words[camera.state] || camera.state;
  }

  since(reason) {
    return this.live.age_ms === null ? reason : `no picture since ${time(this.camera.since_utc_ns)}: ${reason}`;
  }

  reasonOfView(view) {
    const age_ms = this.live.age_ms;
    if (age_ms !== null && age_ms < STALE_MS) return "";
    if (!view || view.state === "idle") return "the live picture is switched off";
    if (["failed", "backoff"].includes(view.state)) return `no live picture: ${view.detail}`;
    return age_ms === null ? "waiting for the first picture" : `no picture for ${(age_ms / 1000).toFixed(0)} s`;
  }

  say(results) {
    if (this.find(".picture").classList.contains("old")) this.notice();
    for (const { processor, values } of results) this.processors.get(processor)?.say(values);
  }

  remove() {
    this.live.close();
    this.root.remove();
  }
}

class Processor {
  constructor(name) {
    this.root = copyOf("processor-template").firstElementChild;
    this.root.dataset.name = name;
    this.worker = new Worker(this.root.querySelector(".worker"), name, "h3");
    this.form = new Form(this.root.querySelector("form"), name);
    this.values = new Map();
    this.said_ms = 0;
  }

  update(worker) {
    this.worker.update(worker);
    this.form.update(worker.declared, worker.values);
  }

  // Plain numbers, words and yes/no: lists are drawn on the picture. No faster than one can read.
  say(values) {
    if (performance.now() - this.said_ms < VALUES_EVERY_MS) return;
    this.said_ms = performance.now();
    for (const [key, value] of Object.entries(values)) {
      const text = { number: number, boolean: (is) => (is ? "yes" : "no"), string: String }[typeof value]?.(value);
      if (text !== undefined) put(this.place(key), text);
    }
  }

  place(key) {
    if (!this.values.has(key)) {
      const span = document.createElement("span"), bold = document.createElement("b");
      span.append(`${key.replaceAll("_", " ")} `, bold);
      this.root.querySelector(".values").append(span);
      this.values.set(key, bold);
    }
    return this.values.get(key);
  }
}
