// What happened to each camera lately, as far as this page has seen it: drops, restarts, losses, recordings, events.

import type { Result, Worker } from "../api/types";
import { cameraOf, isRecording, recordersOf } from "./recorders";
import type { Moment } from "./footage";
import type { Span } from "./timeline";
import { toMs } from "./words";

type Named = Worker & { name: string };

export const REACH_MS = 600_000;
const STEP_MS = 5000; // drops nearer to each other than this are one
const HOLE_MS = 15_000; // so long nothing may be heard, and what went on still goes on
const SAME_MS = 100; // what is heard twice, from the processor and from the server, is one event

export interface Drop {
  at_ms: number;
  count: number;
}

export interface Restart {
  at_ms: number;
  worker: string;
}

export interface CameraPast {
  drops: Drop[];
  restarts: Restart[];
  recorded: Span[];
  lost: Span[];
  moments: Moment[];
}

const nothing = (): CameraPast => ({ drops: [], restarts: [], recorded: [], lost: [], moments: [] });

export class Past {
  private readonly cameras = new Map<string, CameraPast>();
  private counts = new Map<string, number>();
  private restarts = new Map<string, number>();

  /** `workers` of a snapshot that was heard at `at_ms`. */
  take(workers: readonly Named[], at_ms: number): void {
    for (const camera of workers.filter(({ kind }) => kind === "camera")) this.takeCamera(camera, workers, at_ms);
    this.restarts = new Map(workers.map(({ name, restarts }) => [name, restarts]));
  }

  /** What a processor says of a camera's frame. */
  hear(camera: string, { processor, values }: Result): void {
    const events = values["events"];
    if (!Array.isArray(events)) return;
    for (const { id, name, phase, at_ns } of events as { id: string; name: string; phase: string; at_ns: number }[])
      if (phase !== "end") this.add(camera, [{ id, at_ms: toMs(at_ns), end_ms: null, processor, name }]);
  }

  /** What is known from elsewhere. */
  add(camera: string, moments: readonly Moment[], recorded: readonly Span[] = []): void {
    const past = this.pastOf(camera);
    const fresh = moments.filter((each) => !past.moments.some((known) => isSame(known, each)));
    past.moments = [...past.moments, ...fresh].sort((a, b) => a.at_ms - b.at_ms);
    past.recorded = merged([...past.recorded, ...recorded]);
  }

  /** Of the last minutes before `now_ms`. */
  of(camera: string, now_ms: number): CameraPast {
    const past = this.pastOf(camera);
    const from_ms = now_ms - REACH_MS;
    const isNew = ({ at_ms }: { at_ms: number }): boolean => at_ms >= from_ms;
    const cut = (spans: Span[]): Span[] => spans.filter(({ to_ms }) => to_ms >= from_ms);
    const kept = { drops: past.drops.filter(isNew), restarts: past.restarts.filter(isNew), recorded: cut(past.recorded), lost: cut(past.lost), moments: past.moments.filter(isNew) };
    this.cameras.set(camera, kept);
    return kept;
  }

  private pastOf(camera: string): CameraPast {
    const past = this.cameras.get(camera) ?? nothing();
    this.cameras.set(camera, past);
    return past;
  }

  private takeCamera(camera: Named, workers: readonly Named[], at_ms: number): void {
    const past = this.of(camera.name, at_ms);
    const recorders = recordersOf(workers, camera.name);
    this.takeDrops(past, camera.name, lostCount(camera, recorders), at_ms);
    for (const each of workers.filter((worker) => worker === camera || cameraOf(worker) === camera.name))
      if (each.restarts > (this.restarts.get(each.name) ?? each.restarts)) past.restarts.push({ at_ms, worker: each.name });
    if (recorders.some(isRecording)) extend(past.recorded, at_ms);
    if (camera.state !== "running") extend(past.lost, at_ms);
  }

  private takeDrops({ drops }: CameraPast, camera: string, count: number, at_ms: number): void {
    const more = count - (this.counts.get(camera) ?? count); // less: a process began anew
    this.counts.set(camera, count);
    const last = drops.at(-1);
    if (more <= 0) return;
    if (last && at_ms - last.at_ms < STEP_MS) last.count += more;
    else drops.push({ at_ms, count: more });
  }
}

function lostCount(camera: Named, recorders: Named[]): number {
  const streams = Object.values(camera.report?.streams ?? {}).reduce((sum, { dropped }) => sum + (dropped ?? 0), camera.report?.dropped ?? 0);
  return recorders.reduce((sum, { report }) => sum + (report?.dropped ?? 0), streams);
}

function extend(spans: Span[], at_ms: number): void {
  const last = spans.at(-1);
  if (last && at_ms - last.to_ms < HOLE_MS) last.to_ms = Math.max(last.to_ms, at_ms);
  else spans.push({ from_ms: at_ms, to_ms: at_ms });
}

function merged(spans: Span[]): Span[] {
  const found: Span[] = [];
  for (const span of [...spans].sort((a, b) => a.from_ms - b.from_ms)) {
    const last = found.at(-1);
    if (last && span.from_ms - last.to_ms < HOLE_MS / 10) last.to_ms = Math.max(last.to_ms, span.to_ms);
    else found.push({ ...span });
  }
  return found;
}

const isSame = (a: Moment, b: Moment): boolean => a.id === b.id || (a.name === b.name && a.processor === b.processor && Math.abs(a.at_ms - b.at_ms) < SAME_MS);
