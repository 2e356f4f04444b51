// Who records what, and what goes wrong with it, in words.

import type { Verb, Worker } from "../api/types";
import { duration, isInTrouble, isUp, said, sentence, timeOf, toMs } from "./words";

type Named = Worker & { name: string };

/** The camera that a recorder reads, whatever form of its stream that is. */
export const cameraOf = ({ streams }: Worker): string => (streams[0] ?? "").split(".", 1)[0]!;

export const recordersOf = (workers: readonly Named[], camera: string): Named[] =>
  workers.filter((each) => each.kind === "recorder" && cameraOf(each) === camera);

/** Whether it is to record; it may be that it cannot. */
export const isToRecord = (worker: Worker): boolean => isUp(worker) && worker.report?.info["recording"] === true;

/** Whether it writes a film, or will with the next picture. */
export const isRecording = (worker: Worker): boolean => worker.state !== "degraded" && isToRecord(worker);

export const recordingCameras = (workers: readonly Named[]): string[] =>
  [...new Set(workers.filter((each) => each.kind === "recorder" && isRecording(each)).map(cameraOf))];

/** What changes whenever a file is begun or finished: then there is something new to ask for. */
export const filesKey = (workers: readonly Named[]): string =>
  workers.filter(({ kind }) => kind === "recorder").map((each) => `${each.name} ${each.state} ${each.report?.info["file"] ?? ""} ${each.report?.info["segments"] ?? ""}`).join("|");

export interface RecorderTrouble {
  worker: string;
  title: string;
  text: string;
  order: Verb | null;
}

export const recorderTroubles = (workers: readonly Named[], now_ms: number): RecorderTrouble[] =>
  workers.filter((each) => each.kind === "recorder" && isInTrouble(each)).map((each) => troubleOf(each, now_ms));

function troubleOf(worker: Named, now_ms: number): RecorderTrouble {
  const since = `since ${timeOf(toMs(worker.since_utc_ns), now_ms)}`;
  const why = sentence(said(worker, worker.name) || worker.last_error?.message || "");
  const title = `${cameraOf(worker)} is not recorded ${since}`;
  if (worker.state === "failed") return { worker: worker.name, title, text: `${why} It is not tried again by itself.`.trim(), order: "start" };
  const again = worker.next_start_s !== null && worker.state === "backoff" ? ` It starts again in ${duration(worker.next_start_s)}.` : "";
  return { worker: worker.name, title, text: `${why}${again}`.trim(), order: null };
}
