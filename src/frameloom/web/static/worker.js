// What the page shows of any worker: state, figures, buttons, what went wrong. Cameras and processors are built on it.
import { copyOf, put, say, show, time } from "./dom.js";
import { request } from "./api.js";

const AT_WORK = ["running", "degraded", "starting"], IN_TROUBLE = ["failed", "backoff"];
const LONG = 220;  // characters; a longer error is folded

export const isAtWork = (worker) => AT_WORK.includes(worker.state);
export const isInTrouble = (worker) => worker.state === "degraded" || IN_TROUBLE.includes(worker.state);

export function describe(worker) {
  return worker.restarts ? `${worker.state}, ${worker.restarts} ${worker.restarts === 1 ? "restart" : "restarts"}` : worker.state;
}

export class Worker {
  constructor(root, name, heading) {
    this.name = name;
    this.find = (selector) => root.querySelector(selector);
    root.append(copyOf("worker-template"));
    const title = document.createElement(heading);
    title.textContent = name;
    title.title = name;
    this.find(".bar").prepend(title);
    this.onClick(".switch", () => this.verb);
    this.onClick(".restart", () => "restart");
    this.onClick(".dismiss", () => "clear");
    this.find(".restart").setAttribute("aria-label", `Restart ${name}`);
    this.find(".dismiss").setAttribute("aria-label", `Dismiss the last error of ${name}`);
  }

  onClick(selector, verb) {
    const button = this.find(selector);
    button.addEventListener("click", async () => {
      button.disabled = true;
      say(this.find(".problem"), await request("POST", `/api/workers/${this.name}/${verb()}`));
      button.disabled = false;
    });
  }

  update(worker) {
    const report = worker.report || {};
    const working = isAtWork(worker);
    this.verb = working || worker.state === "backoff" ? "stop" : "start";
    this.figures(working, report);
    this.find(".state").dataset.state = worker.state;
    put(this.find(".state"), describe(worker));
    put(this.find(".switch"), this.verb === "stop" ? "Stop" : "Start");
    this.find(".switch").setAttribute("aria-label", `${this.verb === "stop" ? "Stop" : "Start"} ${this.name}`);
    this.detail(worker);
    this.trouble(worker);
  }

  figures(working, { fps, dropped, latency_ms }) {
    put(this.find(".fps"), working && fps ? fps.toFixed(1) : "–");
    put(this.find(".dropped"), working && dropped != null ? String(dropped) : "–");
    put(this.find(".latency"), working && latency_ms != null ? `${latency_ms.toFixed(0)} ms` : "–");
  }

  // A worker that does its best says how that goes: "waiting for frames of 'hall'".
  detail(worker) {
    say(this.find(".detail"), worker.state === "degraded" ? worker.detail || worker.report?.detail : "");
  }

  trouble(worker) {
    const error = worker.last_error, now = IN_TROUBLE.includes(worker.state);
    show(this.find(".trouble"), Boolean(error) || now);
    if (!error && !now) return;
    const what = now ? worker.detail || error?.message : error.message;
    const when = error ? time(error.at_utc_ns) : "";
    const text = `${now ? "" : "Last error, "}${when}${when ? ": " : ""}${what}`;
    put(this.find(".error"), text);
    this.find(".error").classList.toggle("past", !now);
    show(this.find(".dismiss"), Boolean(error) && !now);
    this.more(error, text);
  }

  more(error, text) {
    const whole = text.length > LONG ? text : "";
    const more = [whole, error?.traceback].filter(Boolean).join("\n\n");
    show(this.find("details"), Boolean(more));
    put(this.find("summary"), error?.traceback ? "Traceback" : "Whole message");
    put(this.find("pre"), more);
  }
}
