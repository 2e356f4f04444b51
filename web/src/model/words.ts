// How things are said: numbers with their units, times, states, troubles.

import type { State, Worker } from "../api/types";

const NS_PER_MS = 1_000_000;

export const toMs = (utc_ns: number): number => utc_ns / NS_PER_MS;

/** "14:03:12"; with the date where it is not today's. */
export function timeOf(at_ms: number, now_ms: number = Date.now()): string {
  const at = new Date(at_ms);
  const clock = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const is_today = at.toDateString() === new Date(now_ms).toDateString();
  return is_today ? clock : `${at.toLocaleDateString([], { day: "numeric", month: "short" })} ${clock}`;
}

/** "8 s", "3 min", "2 h 5 min", "4 d 3 h". */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 ? both(s, 60, "min", "s") : `${Math.floor(s / 60)} min`;
  if (s < 86_400) return both(Math.floor(s / 60), 60, "h", "min");
  return both(Math.floor(s / 3600), 24, "d", "h");
}

function both(value: number, base: number, large: string, small: string): string {
  const rest = value % base;
  return rest ? `${Math.floor(value / base)} ${large} ${rest} ${small}` : `${value / base} ${large}`;
}

/** "480 kB", "82 MB", "1.3 GB". */
export function bytes(count: number): string {
  if (count > 0 && count < 1e6) return `${Math.ceil(count / 1e3)} kB`;
  if (count < 1e9) return `${Math.round(count / 1e6)} MB`;
  return `${(count / 1e9).toFixed(1)} GB`;
}

export const milliseconds = (ms: number): string => (ms < 9.95 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);

export const plural = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;

export const sentence = (text: string): string => {
  const whole = text.trim();
  if (!whole) return "";
  return whole[0]!.toUpperCase() + whole.slice(1) + (/[.!?…]$/.test(whole) ? "" : ".");
};

/** The weight of a state: what colour and shape its mark has. */
export type Level = "off" | "well" | "busy" | "degraded" | "failed";

const LEVELS: Record<State, Level> = {
  idle: "off",
  starting: "busy",
  stopping: "busy",
  running: "well",
  degraded: "degraded",
  backoff: "degraded",
  failed: "failed",
};

export const levelOf = (state: State): Level => LEVELS[state];

const STATES: Record<State, string> = {
  idle: "stopped",
  starting: "starting",
  stopping: "stopping",
  running: "running",
  degraded: "degraded",
  backoff: "crashed",
  failed: "failed",
};

/** "running"; a camera that does its best without pictures is "lost". */
export const stateWord = (state: State, kind = ""): string =>
  state === "degraded" && kind === "camera" ? "lost" : STATES[state];

/** What a worker says of itself, without its name in front: it stands beside it. */
export function said({ detail, report }: Worker, name: string): string {
  const text = detail || report?.detail || "";
  return text.startsWith(`'${name}': `) ? text.slice(name.length + 4) : text;
}

export const isUp = ({ state }: Worker): boolean => state === "running" || state === "degraded" || state === "starting";
export const isInTrouble = ({ state }: Worker): boolean => state === "degraded" || state === "backoff" || state === "failed";

/** What a person would want to do about a worker: stop what is to run, start what is not. */
export const switchOf = (worker: Worker): "start" | "stop" =>
  worker.state === "failed" || worker.state === "idle" ? "start" : "stop";
