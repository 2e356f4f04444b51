import { expect, it } from "vitest";
import type { Worker } from "../api/types";
import { cameraOf, filesKey, isRecording, isToRecord, recorderTroubles, recordersOf, recordingCameras } from "./recorders";

const recorder = (name: string, camera: string, more: Partial<Worker> = {}, info: Record<string, unknown> = {}): Worker & { name: string } => ({
  name, kind: "recorder", streams: [`${camera}.packets`], enabled: true, state: "running", detail: "", pid: 1, restarts: 0, since_utc_ns: 0,
  uptime_s: 1, next_start_s: null, last_error: null, cpu_percent: 0, memory_bytes: 0, declared: [], values: {},
  report: { state: "running", detail: "", fps: 25, frames: 1, dropped: 0, latency_ms: null, streams: {}, info }, ...more,
});
const on = { recording: true, file: "a.mp4", segments: 1 };
const WORKERS = [recorder("hall-rec", "hall", {}, on), recorder("yard-rec", "yard"), recorder("hall-2", "hall", { state: "failed" }, on)];

it("knows who records a camera", () => {
  expect(recordersOf(WORKERS, "hall").map(({ name }) => name)).toEqual(["hall-rec", "hall-2"]);
  expect(cameraOf(WORKERS[1]!)).toBe("yard");
  expect(WORKERS.map(isRecording)).toEqual([true, false, false]);
  expect(recordingCameras(WORKERS)).toEqual(["hall"]);
  const full = recorder("yard-rec", "yard", { state: "degraded" }, on);
  expect([isToRecord(full), isRecording(full)]).toEqual([true, false]);
});

it("notices each new file", () => {
  const later = [recorder("hall-rec", "hall", {}, { ...on, file: "b.mp4" }), ...WORKERS.slice(1)];
  expect(filesKey(later)).not.toBe(filesKey(WORKERS));
  expect(filesKey([...WORKERS])).toBe(filesKey(WORKERS));
});

it("says what goes wrong, and what can be done", () => {
  const full = recorder("hall-rec", "hall", { state: "degraded", detail: "'hall-rec': 12 MB are free on the disk, 1 GB is to stay free" });
  expect(recorderTroubles([full, recorder("yard-rec", "yard")], 0)).toEqual([
    { worker: "hall-rec", title: expect.stringMatching(/^hall is not recorded since \d\d:/), text: "12 MB are free on the disk, 1 GB is to stay free.", order: null },
  ]);
  const failed = recorder("hall-rec", "hall", { state: "failed", last_error: { message: "it broke", traceback: null, at_utc_ns: 0, exit: "1" } });
  expect(recorderTroubles([failed], 0)[0]).toMatchObject({ text: "It broke. It is not tried again by itself.", order: "start" });
  const crashed = recorder("hall-rec", "hall", { state: "backoff", next_start_s: 3 });
  expect(recorderTroubles([crashed], 0)[0]).toMatchObject({ text: "It starts again in 3 s.", order: null });
});
