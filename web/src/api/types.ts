// The JSON of the server, as /openapi.json describes it (docs/http.md). Times are ns since 1970, UTC.

export type State = "idle" | "starting" | "running" | "degraded" | "stopping" | "backoff" | "failed";
export type Verb = "start" | "stop" | "restart" | "clear";

export interface LastError {
  message: string;
  traceback: string | null;
  at_utc_ns: number;
  exit: string;
}

export interface Published {
  kind: string;
  readers?: string[];
  dropped?: number;
}

export interface Report {
  state: State;
  detail: string;
  fps: number;
  frames: number;
  dropped: number;
  latency_ms: number | null;
  streams: Record<string, Published>;
  info: Record<string, unknown>;
}

export type Point = [number, number];
export type Polygon = Point[];

interface Declared<Type extends string, Value> {
  name: string;
  type: Type;
  default: Value;
  unit: string;
  description: string;
}

export interface NumberDeclaration extends Declared<"number" | "integer", number> {
  minimum: number;
  maximum: number;
  step: number;
}
export type ToggleDeclaration = Declared<"toggle", boolean>;
export interface ChoiceDeclaration extends Declared<"choice", string> {
  choices: string[];
}
export type TextDeclaration = Declared<"text", string> & { longest?: number };
export type RegionsDeclaration = Declared<"regions", Polygon[]>;
export type Declaration =
  NumberDeclaration | ToggleDeclaration | ChoiceDeclaration | TextDeclaration | RegionsDeclaration;

export interface Worker {
  kind: string;
  streams: string[];
  enabled: boolean;
  state: State;
  detail: string;
  pid: number | null;
  restarts: number;
  since_utc_ns: number;
  uptime_s: number | null;
  next_start_s: number | null;
  last_error: LastError | null;
  cpu_percent: number | null;
  memory_bytes: number | null;
  declared: Declaration[];
  values: Record<string, unknown>;
  report: Report | null;
}

export interface Site {
  site: string;
  pid: number;
  version: string;
  started_utc_ns: number;
  silent_since_utc_ns: number | null;
  workers: Record<string, Worker>;
}

export interface Done {
  workers: Record<string, unknown>;
  stored: boolean;
  store_error?: string | null;
}

export interface Changed {
  name: string;
  values: Record<string, unknown>;
  live: boolean;
  stored: boolean;
  store_error?: string | null;
}

export interface LogLine {
  seq: number;
  at_utc_ns: number;
  text: string;
}

/** What a processor said of one frame. */
export interface Result {
  processor: string;
  frame_seq: number;
  values: Record<string, unknown>;
}

/** What there is of a camera, which may be one that is no more. */
export interface RecordedCamera {
  name: string;
  recorders: string[];
  recording: boolean;
  segments: number;
  bytes: number;
  seconds: number;
  first_utc_ns: number | null;
  last_utc_ns: number | null;
}

export interface Segment {
  id: string;
  begin_utc_ns: number;
  end_utc_ns: number;
  bytes: number;
  codec: string;
  mime?: string | null;
  width: number;
  height: number;
  frames: number;
  state: "writing" | "complete" | "cut";
  has_results: boolean;
}

export interface RecordedEvent {
  id: string | number;
  at_utc_ns: number;
  end_utc_ns?: number | null;
  processor: string;
  name: string;
  values: Record<string, unknown>;
  camera?: string;
}

export interface Recordings {
  camera: string;
  segments: Segment[];
  events: RecordedEvent[];
  truncated: boolean;
}

/** What was, or would be, deleted: whole files. */
export interface Deletion {
  segments: number;
  bytes: number;
  seconds: number;
  begin_utc_ns: number | null;
  end_utc_ns: number | null;
  deleted: boolean;
}

export interface RecordAnswer {
  camera: string;
  recording: boolean;
  recorders: string[];
}
