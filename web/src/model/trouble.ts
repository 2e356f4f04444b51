// Why there is no live picture, in words: since when, why, what is being done, what a person can do.

import type { Verb, Worker } from "../api/types";
import { duration, isUp, said, sentence, timeOf, toMs } from "./words";

export interface Trouble {
  title: string;
  text: string;
  action?: { label: string; worker: string; verb: Verb };
}

type NamedWorker = Worker & { name: string };

/** None while pictures come. `age_ms` is the age of the newest picture, null before the first. */
export function troubleOf(
  camera: NamedWorker,
  view: NamedWorker | undefined,
  age_ms: number | null,
  now_ms: number,
): Trouble | null {
  if (camera.state !== "running") return troubleOfWorker(camera, now_ms);
  if (age_ms !== null && age_ms < 3000) return null;
  if (view && !isUp(view)) return troubleOfView(view, now_ms);
  if (age_ms === null) return { title: "Waiting for the first picture", text: sentence(camera.detail) };
  return { title: `No picture for ${duration(age_ms / 1000)}`, text: sentence(camera.detail || "The camera is running, but nothing arrives here") };
}

function troubleOfWorker(worker: NamedWorker, now_ms: number): Trouble | null {
  const since = `since ${timeOf(toMs(worker.since_utc_ns), now_ms)}`;
  switch (worker.state) {
    case "idle":
      return { title: `Stopped ${since}`, text: "", action: { label: "Start", worker: worker.name, verb: "start" } };
    case "failed":
      return { title: `Failed ${since}`, text: why(worker), action: { label: "Try again", worker: worker.name, verb: "start" } };
    case "backoff":
      return { title: `Crashed ${since}`, text: `${why(worker)} ${again(worker)}`.trim() };
    case "degraded":
      return { title: `Lost for ${duration((now_ms - toMs(worker.since_utc_ns)) / 1000)}, ${since}`, text: why(worker) };
    case "starting":
      return { title: "Starting", text: sentence(worker.detail) };
    case "stopping":
      return { title: "Stopping", text: "" };
    default:
      return null;
  }
}

function troubleOfView(view: NamedWorker, now_ms: number): Trouble {
  const trouble = troubleOfWorker(view, now_ms);
  const start = { label: `Start ${view.name}`, worker: view.name, verb: "start" as const };
  return {
    title: "No pictures are made for viewers",
    text: [`${view.name}: ${trouble?.title.toLowerCase() ?? "not running"}.`, trouble?.text ?? ""].join(" ").trim(),
    ...(view.state === "backoff" ? {} : { action: start }),
  };
}

const why = (worker: NamedWorker): string =>
  sentence(said(worker, worker.name) || worker.last_error?.message || "");

function again({ next_start_s, detail }: Worker): string {
  return next_start_s === null || /again in/.test(detail) ? "" : `It starts again in ${duration(next_start_s)}.`;
}
