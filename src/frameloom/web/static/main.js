// The page: follows the site's state, keeps one tile per camera, and posts commands. Pictures are in live.js, forms in form.js.
import { Live } from "./live.js";
import { Form } from "./form.js";
import { request, follow } from "./api.js";

const VERBS = { start: "Start", stop: "Stop", restart: "Restart" };
const tiles = new Map();
const $ = (id) => document.getElementById(id);

class Worker {
  // What cameras and processors have in common: state, figures, buttons, last error.
  constructor(root, name) {
    this.root = root;
    this.name = name;
    this.find = (selector) => root.querySelector(selector);
    this.buttons = {};
    for (const [verb, text] of Object.entries(VERBS)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", `${text} ${name}`);
      button.addEventListener("click", () => this.order(verb, button));
      this.find(".actions").append(button);
      this.buttons[verb] = button;
    }
  }

  async order(verb, button) {
    button.disabled = true;
    const problem = await request("POST", `/api/workers/${this.name}/${verb}`);
    button.disabled = false;
    if (problem) this.complain(problem);
  }

  complain(text) {
    this.find(".error").hidden = !text;
    this.find(".error").textContent = text || "";
  }

  show(worker, dropped) {
    const report = worker.report || {};
    const running = ["running", "degraded", "starting"].includes(worker.state);
    const state = this.find(".state");
    state.dataset.state = worker.state;
    state.textContent = worker.restarts ? `${worker.state}, ${worker.restarts} restarts` : worker.state;
    this.find(".fps").textContent = running && report.fps ? report.fps.toFixed(1) : "–";
    this.find(".dropped").textContent = running ? String(dropped ?? report.dropped ?? 0) : "–";
    this.find(".latency").textContent = running && report.latency_ms != null ? `${report.latency_ms.toFixed(0)} ms` : "–";
    this.buttons.start.disabled = running;
    this.buttons.stop.disabled = !running && worker.state !== "backoff";
    this.buttons.restart.disabled = worker.state === "idle";
    this.showError(worker);
  }

  showError(worker) {
    const last = worker.last_error;
    const now = ["failed", "backoff"].includes(worker.state);
    const when = last ? new Date(last.at_utc_ns / 1e6).toLocaleTimeString() : "";
    this.complain(last ? `${now ? "" : "Last error, "}${when}: ${last.message}${last.exit ? ` (${last.exit})` : ""}` : "");
    this.find(".error").classList.toggle("past", !now);
    const details = this.find(".traceback");
    details.hidden = !last?.traceback;
    details.querySelector("pre").textContent = last?.traceback || "";
  }
}

class Processor extends Worker {
  constructor(name) {
    const root = $("processor-template").content.firstElementChild.cloneNode(true);
    super(root, name);
    this.find("h3").textContent = name;
    this.form = new Form(this.find("form"), name);
  }

  update(worker) {
    this.show(worker);
    this.form.update(worker.report?.declared || [], worker.report?.values || {});
  }

  say(values) {
    // Plain numbers and yes/no only: lists are drawn on the picture.
    const parts = Object.entries(values).filter(([, v]) => ["number", "boolean", "string"].includes(typeof v));
    this.find(".values").replaceChildren(...parts.flatMap(([key, value]) => {
      const bold = document.createElement("b");
      bold.textContent = typeof value === "number" ? Number(value.toPrecision(4)) : typeof value === "boolean" ? (value ? "yes" : "no") : value;
      return [`${key} `, bold, "   "];
    }));
  }
}

class Camera extends Worker {
  constructor(name) {
    const root = $("camera-template").content.firstElementChild.cloneNode(true);
    super(root, name);
    this.find("h2").textContent = name;
    this.processors = new Map();
    this.live = new Live(this.find("canvas"), name, (results) => this.say(results));
    $("cameras").append(root);
  }

  update(camera, processors) {
    this.show(camera);
    this.notice(camera);
    for (const [name, worker] of Object.entries(processors)) {
      if (!this.processors.has(name)) {
        const processor = new Processor(name);
        this.processors.set(name, processor);
        this.find(".processors").append(processor.root);
      }
      this.processors.get(name).update(worker);
    }
    for (const [name, processor] of this.processors)
      if (!(name in processors)) { processor.root.remove(); this.processors.delete(name); }
  }

  notice(camera) {
    const words = {
      idle: "stopped", starting: "starting", stopping: "stopping",
      backoff: `starting again in ${Math.max(0, camera.next_start_s ?? 0).toFixed(0)} s`, failed: "failed; see below",
    };
    const text = camera.state === "running" ? "" : camera.detail || camera.report?.detail || words[camera.state] || "";
    this.find(".notice").hidden = !text;
    this.find(".notice").textContent = text;
    this.find(".picture").classList.toggle("old", camera.state !== "running");
  }

  say(results) {
    for (const { processor, values } of results) this.processors.get(processor)?.say(values);
  }

  remove() {
    this.live.close();
    this.root.remove();
  }
}

function update(site) {
  $("site").textContent = site.site;
  const workers = Object.entries(site.workers);
  const cameras = workers.filter(([, w]) => w.kind === "camera");
  for (const [name, camera] of cameras) {
    if (!tiles.has(name)) tiles.set(name, new Camera(name));
    const mine = workers.filter(([, w]) => w.kind === "processor" && w.streams.includes(name));
    tiles.get(name).update(camera, Object.fromEntries(mine));
  }
  for (const [name, tile] of tiles)
    if (!cameras.some(([each]) => each === name)) { tile.remove(); tiles.delete(name); }
  summarise(workers, cameras.length);
  table(workers.filter(([, w]) => !["camera", "processor"].includes(w.kind)));
}

function summarise(workers, cameras) {
  const troubled = workers.filter(([, w]) => ["degraded", "failed", "backoff"].includes(w.state)).map(([name]) => name);
  const text = `${cameras} ${cameras === 1 ? "camera" : "cameras"}, ${workers.length} workers`;
  $("summary").textContent = troubled.length ? `${text}; in trouble: ${troubled.join(", ")}` : text;
  const empty = document.querySelector(".empty");
  if (cameras || empty) { if (cameras) empty?.remove(); return; }
  const hint = document.createElement("p");
  hint.className = "empty";
  hint.textContent = "No cameras yet. Add one to site.yaml under 'cameras:', as in 'hall: rtsp://…'; it appears here as soon as the file is saved.";
  $("cameras").append(hint);
}

function table(workers) {
  $("others").hidden = !workers.length;
  const rows = workers.map(([name, w]) => {
    const row = document.createElement("tr");
    const memory = w.memory_bytes ? `${(w.memory_bytes / 2 ** 20).toFixed(0)} MiB` : "–";
    const cells = [name, w.kind, w.state, w.report?.fps ? w.report.fps.toFixed(1) : "–",
      w.cpu_percent != null ? `${w.cpu_percent.toFixed(0)} %` : "–", memory, w.restarts, w.detail || w.report?.detail || ""];
    row.append(...cells.map((text, i) => {
      const cell = document.createElement("td");
      cell.textContent = text;
      if (i >= 3 && i <= 6) cell.className = "n";
      if (i === 2) cell.innerHTML = `<span class="state" data-state="${w.state}">${w.state}</span>`;
      return cell;
    }));
    return row;
  });
  $("others").querySelector("tbody").replaceChildren(...rows);
}

follow("/api/watch", {
  text: (data) => update(JSON.parse(data)),
  lost: () => { $("summary").textContent = "the server does not answer; trying again"; },
});
