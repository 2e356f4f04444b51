// The state of the place: what time is seen, what is looked at, what is chosen; and what can be done with it.

import { eventsOf } from "../api/recordings";
import { inWords } from "../api/http";
import { momentOf, type Moment } from "../model/footage";
import { around, compactOf, DAY_MS, following, holds, lastHour, lengthOf, moved, ordered, readCompact, zoomed, type Span } from "../model/timeline";
import { toMs } from "../model/words";
import type { Route } from "../state/route.svelte";
import { Library } from "./library.svelte";
import { Playing, SPEEDS } from "./playing.svelte";

const HOUR_MS = 3_600_000;
const NEAR_MS = 20; // an event that is nearer than this is the one that is looked at
const BEFORE_MS = 1000; // an event is shown from a little before it
const LAST_MS = 10_000;
const MOST_EVENTS = 1000;

export class Desk {
  readonly library = new Library();
  readonly playing = new Playing(this.library);
  span = $state.raw<Span>(lastHour(Date.now()));
  /** What is to be exported or deleted, of the camera that is looked at. */
  range = $state.raw<Span | null>(null);
  /** Processors whose layers are not shown. */
  hidden = $state.raw<ReadonlySet<string>>(new Set());
  problem = $state("");
  /** The span is somebody's choice, and no more that with which the place opens. */
  private is_own = $state(false);

  /** From its address. */
  open({ name, options }: Route): void {
    const [at, from, to, first, last] = ["at", "from", "to", "in", "out"].map((each) => readCompact(options.get(each) ?? ""));
    const speed = Number(options.get("speed"));
    if (SPEEDS.includes(speed)) this.playing.setSpeed(speed);
    this.hidden = new Set((options.get("hide") ?? "").split(",").filter(Boolean));
    this.range = first != null && last != null ? ordered(first, last) : null;
    if (from != null && to != null && to > from) this.look({ from_ms: from, to_ms: to });
    else if (at != null) this.look(around(at, HOUR_MS));
    if (name && at != null) this.playing.seek(at, name);
    else if (name) this.choose(name);
  }

  /** The address that leads here again. */
  address(): Route {
    const { camera, at_ms, speed } = this.playing;
    const options = new URLSearchParams();
    const put = (name: string, at: number | undefined): void => void (at !== undefined && options.set(name, compactOf(at)));
    if (at_ms) put("at", at_ms);
    if (this.is_own) {
      put("from", this.span.from_ms);
      put("to", this.span.to_ms);
    }
    put("in", this.range?.from_ms);
    put("out", this.range?.to_ms);
    if (speed !== 1) options.set("speed", String(speed));
    if (this.hidden.size) options.set("hide", [...this.hidden].join(","));
    return { place: "recordings", name: camera, options };
  }

  /** Look at a camera; what is shown of it is the time that is looked at, or else the end of its last recording. */
  choose(camera: string): void {
    if (this.playing.at_ms) return this.playing.seek(this.playing.at_ms, camera);
    this.playing.camera = camera;
    const last_ns = this.library.cameras?.find(({ name }) => name === camera)?.last_utc_ns;
    if (last_ns) void this.goToLast(camera, toMs(last_ns));
  }

  private async goToLast(camera: string, last_ms: number): Promise<void> {
    if (!holds(this.span, last_ms)) this.span = around(last_ms, HOUR_MS);
    const footage = this.library.of(camera);
    await footage.ask({ from_ms: last_ms - LAST_MS, to_ms: last_ms });
    const film = footage.films.at(-1);
    if (film && camera === this.playing.camera && !this.playing.at_ms) this.playing.seek(Math.max(film.begin_ms, film.end_ms - LAST_MS), camera);
  }

  look(span: Span): void {
    this.is_own = true;
    this.span = span;
  }

  zoom(factor: number, at_ms?: number): void {
    const { playing, span } = this;
    const middle_ms = (span.from_ms + span.to_ms) / 2;
    this.look(zoomed(span, factor, at_ms ?? (holds(span, playing.at_ms) ? playing.at_ms : middle_ms)));
  }

  pan(share: number): void {
    this.look(moved(this.span, share * lengthOf(this.span)));
  }

  /** What is played stays in view. */
  keep(at_ms: number): void {
    this.span = following(this.span, at_ms);
  }

  /** To a moment, which is brought into view. */
  goTo(at_ms: number): void {
    this.playing.seek(at_ms);
    this.keep(at_ms);
  }

  mark(end: "from_ms" | "to_ms"): void {
    const at_ms = this.playing.at_ms;
    if (!at_ms) return;
    const { from_ms, to_ms } = this.range ?? { ...this.span, to_ms: Math.min(this.span.to_ms, Date.now()) };
    this.range = end === "from_ms" ? { from_ms: at_ms, to_ms: Math.max(to_ms, at_ms) } : { from_ms: Math.min(from_ms, at_ms), to_ms: at_ms };
  }

  toggleLayer(processor: string): void {
    this.hidden = new Set(this.hidden.has(processor) ? [...this.hidden].filter((each) => each !== processor) : [...this.hidden, processor]);
  }

  /** To the event after the moment that is looked at, or before it; false where there is none. */
  async jump(direction: 1 | -1): Promise<boolean> {
    const found = await this.eventFrom(direction);
    if (found) this.goTo(found.at_ms - BEFORE_MS);
    return found !== null;
  }

  private async eventFrom(direction: 1 | -1): Promise<Moment | null> {
    const at_ms = this.playing.at_ms + BEFORE_MS;
    const { moments, known } = this.library.of(this.playing.camera);
    const near = known && holds(known, at_ms) ? nextOf(moments, at_ms, direction) : null;
    if (near) return near;
    try {
      this.problem = "";
      return direction > 0 ? await this.later(at_ms) : await this.earlier(at_ms);
    } catch (error) {
      this.problem = inWords(error);
      return null;
    }
  }

  private async earlier(at_ms: number): Promise<Moment | null> {
    const [found] = await eventsOf(this.playing.camera, { from_ms: 0, to_ms: at_ms - NEAR_MS }, 1);
    return found ? momentOf(found) : null;
  }

  /** The server gives the newest first: longer and longer times are asked for, so that the first one is among them. */
  private async later(at_ms: number): Promise<Moment | null> {
    for (const reach_ms of [HOUR_MS, DAY_MS, 30 * DAY_MS, 3650 * DAY_MS]) {
      const found = await eventsOf(this.playing.camera, { from_ms: at_ms + NEAR_MS, to_ms: at_ms + reach_ms }, MOST_EVENTS);
      const first = found.at(-1);
      if (first) return momentOf(first);
      if (at_ms + reach_ms > Date.now()) break;
    }
    return null;
  }
}

function nextOf(moments: readonly Moment[], at_ms: number, direction: 1 | -1): Moment | null {
  const found = direction > 0 ? moments.find((each) => each.at_ms > at_ms + NEAR_MS) : moments.findLast((each) => each.at_ms < at_ms - NEAR_MS);
  return found ?? null;
}
