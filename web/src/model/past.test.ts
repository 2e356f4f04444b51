import { expect, it } from "vitest";
import type { Worker } from "../api/types";
import { Past, REACH_MS } from "./past";

const worker = (name: string, kind: string, more: Partial<Worker> = {}, dropped = 0, info: Record<string, unknown> = {}): Worker & { name: string } => ({
  name, kind, streams: kind === "camera" ? [] : ["hall.packets"], enabled: true, state: "running", detail: "", pid: 1, restarts: 0, since_utc_ns: 0,
  uptime_s: 1, next_start_s: null, last_error: null, cpu_percent: 0, memory_bytes: 0, declared: [], values: {},
  report: { state: "running", detail: "", fps: 25, frames: 1, dropped: 0, latency_ms: null, streams: { hall: { kind: "frames", dropped } }, info }, ...more,
});
const moment = (at_ms: number, id = String(at_ms)) => ({ id, at_ms, end_ms: null, processor: "motion", name: "motion" });

it("counts what is lost from one snapshot to the next, and not what was lost before", () => {
  const past = new Past();
  const at = (dropped: number, at_ms: number): void => past.take([worker("hall", "camera", {}, dropped)], at_ms);
  at(100, 0);
  at(103, 2000);
  at(104, 4000);
  at(0, 12_000); // the process began anew
  at(2, 20_000);
  expect(past.of("hall", 20_000).drops).toEqual([{ at_ms: 2000, count: 4 }, { at_ms: 20_000, count: 2 }]);
});

it("notes restarts of the camera and of whatever reads it", () => {
  const past = new Past();
  const at = (restarts: number, at_ms: number): void => past.take([worker("hall", "camera"), worker("motion", "processor", { restarts, streams: ["hall"] })], at_ms);
  [1, 1, 2].forEach((restarts, index) => at(restarts, index * 1000));
  expect(past.of("hall", 3000).restarts).toEqual([{ at_ms: 2000, worker: "motion" }]);
});

it("knows when it was recorded and when it was lost, over the pauses between snapshots", () => {
  const past = new Past();
  const at = (is_on: boolean, at_ms: number): void =>
    past.take([worker("hall", "camera", is_on ? {} : { state: "degraded" }), worker("hall-rec", "recorder", {}, 0, { recording: is_on })], at_ms);
  [[true, 0], [true, 2000], [false, 4000], [true, 60_000]].forEach(([is_on, at_ms]) => at(is_on as boolean, at_ms as number));
  expect(past.of("hall", 60_000).recorded).toEqual([{ from_ms: 0, to_ms: 2000 }, { from_ms: 60_000, to_ms: 60_000 }]);
  expect(past.of("hall", 60_000).lost).toEqual([{ from_ms: 4000, to_ms: 4000 }]);
  past.add("hall", [], [{ from_ms: -500, to_ms: 1000 }, { from_ms: 2500, to_ms: 3000 }]);
  expect(past.of("hall", 60_000).recorded[0]).toEqual({ from_ms: -500, to_ms: 3000 });
});

it("takes each event once, from wherever it is heard first", () => {
  const past = new Past();
  const said = (phase: string, id: string) => ({ processor: "motion", frame_seq: 1, values: { events: [{ id, name: "motion", phase, at_ns: 5e9 }] } });
  past.hear("hall", said("start", "a"));
  past.hear("hall", said("end", "a"));
  past.add("hall", [moment(5050, "7"), moment(4000)]);
  expect(past.of("hall", 6000).moments.map(({ at_ms }) => at_ms)).toEqual([4000, 5000]);
});

it("forgets", () => {
  const past = new Past();
  past.add("hall", [moment(1000), moment(5000)]);
  expect(past.of("hall", 1001 + REACH_MS).moments).toHaveLength(1);
  expect(past.of("hall", 5001 + REACH_MS).moments).toEqual([]);
});
