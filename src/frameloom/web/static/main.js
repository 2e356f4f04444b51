// The page: follows the site's state and keeps one tile per camera.
import { $, count, put, say, time } from "./dom.js";
import { Camera } from "./camera.js";
import { Following } from "./api.js";
import { isInTrouble } from "./worker.js";
import { table } from "./table.js";

const SILENCE_MS = 8000;  // the site is told at least every two seconds, or that its supervisor is silent
const LOOK_EVERY_MS = 1000;

const tiles = new Map();
let lost_ms = null;

function update(site) {
  const workers = Object.entries(site.workers);
  const cameras = workers.filter(([, worker]) => worker.kind === "camera");
  put($("site"), site.site);
  document.title = `${site.site} – Frameloom`;
  for (const [name, camera] of cameras) tile(name).update(camera, site.workers[`${name}.view`], processorsOn(name, workers));
  for (const [name, tile] of tiles)
    if (!cameras.some(([each]) => each === name)) { tile.remove(); tiles.delete(name); }
  $("cameras").classList.toggle("single", cameras.length === 1);
  put($("summary"), summary(workers, cameras.length));
  hint(cameras.length === 0);
  table(workers);
  alarm(site.silent_since_utc_ns);
}

function tile(name) {
  if (!tiles.has(name)) {
    tiles.set(name, new Camera(name));
    $("cameras").append(tiles.get(name).root);
  }
  return tiles.get(name);
}

function processorsOn(camera, workers) {
  return Object.fromEntries(workers.filter(([, worker]) => worker.kind === "processor" && worker.streams.includes(camera)));
}

function summary(workers, cameras) {
  if (!cameras) return "no cameras";
  const processors = workers.filter(([, worker]) => worker.kind === "processor").length;
  const troubled = workers.filter(([, worker]) => isInTrouble(worker)).map(([name]) => name);
  const text = `${count(cameras, "camera")}, ${count(processors, "processor")}`;
  return troubled.length ? `${text}; in trouble: ${troubled.join(", ")}` : text;
}

function hint(empty) {
  const found = document.querySelector(".hint");
  if (!empty) found?.remove();
  if (!empty || found) return;
  const text = document.createElement("p"), example = document.createElement("pre");
  text.textContent = "No cameras yet. Add one to site.yaml; it appears here as soon as the file is saved:";
  example.textContent = "cameras:\n  hall: rtsp://user:${HALL_PASSWORD}@192.168.1.20/stream";
  const box = document.createElement("div");
  box.className = "hint";
  box.append(text, example);
  $("cameras").append(box);
}

function alarm(silent_since_utc_ns) {
  lost_ms = null;
  document.body.classList.toggle("stale", Boolean(silent_since_utc_ns));
  say($("alarm"), silent_since_utc_ns
    ? `The supervisor has not answered since ${time(silent_since_utc_ns)}: what is said here is from then, and nothing can be changed.` : "");
}

function disconnected() {
  lost_ms ??= Date.now();
  const since = `since ${new Date(lost_ms).toLocaleTimeString()}`;
  document.body.classList.add("stale");
  say($("alarm"), `The server has not answered ${since}; trying again. What is said here is from then.`);
  for (const tile of tiles.values()) tile.notice(`no connection to the server ${since}`);
}

new Following("/api/watch", { take: (data) => update(JSON.parse(data)), lost: disconnected, silence_ms: SILENCE_MS });
setInterval(() => {
  if (lost_ms === null) for (const tile of tiles.values()) tile.notice();
}, LOOK_EVERY_MS);
