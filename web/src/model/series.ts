// What a processor said lately, value by value, for plots: numbers, yes or no as 1 or 0, lists by their length.

import type { Result } from "../api/types";

export const SECONDS = 60;
const LEAST_STEP_S = 0.1; // finer cannot be seen
const MOST_VALUES = 8;

export interface Series {
  name: string;
  kind: "number" | "yes or no" | "count";
  times_s: number[];
  values: number[];
}

export interface SeenEvent {
  id: string;
  name: string;
  started_at_ns: number | null;
  ended_at_ns: number | null;
}

interface EventMessage {
  id: string;
  name: string;
  phase: string;
  at_ns: number;
}

const MOST_EVENTS = 5;

export class History {
  readonly series: Series[] = [];
  /** Newest first. */
  events: SeenEvent[] = [];

  /** `now_s` of any steady clock. */
  take(values: Result["values"], now_s: number): void {
    for (const [name, value] of Object.entries(values)) {
      if (name === "events") this.takeEvents(value as EventMessage[]);
      else this.takeValue(name, value, now_s);
    }
  }

  private takeValue(name: string, value: unknown, now_s: number): void {
    const plain = numeric(value);
    if (plain === null) return;
    const series = this.series.find((each) => each.name === name) ?? this.add(name, plain.kind);
    if (!series || now_s - (series.times_s.at(-1) ?? -Infinity) < LEAST_STEP_S) return;
    series.times_s.push(now_s);
    series.values.push(plain.value);
    const old = series.times_s.findIndex((each) => each >= now_s - SECONDS);
    series.times_s.splice(0, old);
    series.values.splice(0, old);
  }

  private add(name: string, kind: Series["kind"]): Series | null {
    if (this.series.length >= MOST_VALUES) return null;
    const series: Series = { name, kind, times_s: [], values: [] };
    this.series.push(series);
    return series;
  }

  private takeEvents(messages: EventMessage[]): void {
    if (!Array.isArray(messages)) return;
    for (const { id, name, phase, at_ns } of messages) {
      const before = this.events.find((each) => each.id === id) ?? { id, name, started_at_ns: null, ended_at_ns: null };
      const now = phase === "end" ? { ...before, ended_at_ns: at_ns } : { ...before, started_at_ns: at_ns };
      this.events = [now, ...this.events.filter((each) => each.id !== id)].slice(0, MOST_EVENTS);
    }
  }
}

function numeric(value: unknown): Pick<Series, "kind"> & { value: number } | null {
  if (typeof value === "number" && Number.isFinite(value)) return { kind: "number", value };
  if (typeof value === "boolean") return { kind: "yes or no", value: Number(value) };
  return Array.isArray(value) ? { kind: "count", value: value.length } : null;
}

/** The newest value as a person reads it. */
export function newestOf({ kind, values }: Series): string {
  const value = values.at(-1);
  if (value === undefined) return "–";
  if (kind === "yes or no") return value ? "yes" : "no";
  return kind === "count" ? String(value) : String(Number(value.toPrecision(3)));
}
