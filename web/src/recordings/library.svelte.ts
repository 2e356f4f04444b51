// What is known of the recordings of all cameras: asked for where somebody looks, kept, and renewed where it grows.

import { untrack } from "svelte";
import { inWords } from "../api/http";
import { recordedCameras, recordingsOf } from "../api/recordings";
import type { RecordedCamera, Recordings } from "../api/types";
import { filmOf, momentOf, renewed, renewedMoments, type Film, type Moment } from "../model/footage";
import { Newest } from "../model/newest";
import { DAY_MS, holds, lengthOf, overlaps, type Span } from "../model/timeline";
import { toMs } from "../model/words";

const MOST_PAGES = 12; // more than that at once cannot be told apart on any screen
const PAUSE_MS = 150;
const HOPELESS = 8; // of a span that holds too much, a part that is not much shorter is too much, too
const LATE_MS = 5000; // how far the clocks of this machine and of the server may be apart

export class Footage {
  films = $state.raw<readonly Film[]>([]);
  moments = $state.raw<readonly Moment[]>([]);
  /** Of this time all is known; null before anything is. */
  known = $state.raw<Span | null>(null);
  problem = $state("");
  /** What was asked for, and is too much to have all of it; null where nothing is. */
  asked = $state.raw<Span | null>(null);
  readonly camera: string;
  private readonly asking = new Newest<Span>((span) => this.ask(span), PAUSE_MS);

  constructor(camera: string) {
    this.camera = camera;
  }

  /** Ask for what is not known of `span`, and for some more on both sides. */
  want(span: Span, now_ms: number): void {
    const { asked } = this;
    const is_hopeless = asked && holds(asked, span.from_ms) && lengthOf(span) > lengthOf(asked) / HOPELESS;
    if (this.covers(span, now_ms) || is_hopeless) return;
    const more = Math.min(lengthOf(span), DAY_MS);
    this.asking.put({ from_ms: span.from_ms - more, to_ms: span.to_ms + more });
  }

  covers({ from_ms, to_ms }: Span, now_ms: number): boolean {
    return this.known !== null && this.known.from_ms <= from_ms && this.known.to_ms >= Math.min(to_ms, now_ms);
  }

  /** Ask, and wait for it. */
  async ask(span: Span): Promise<void> {
    try {
      const { films, moments, from_ms } = await this.pages(span);
      this.take({ ...span, from_ms }, films, moments);
      this.asked = from_ms > span.from_ms ? span : null;
      this.problem = "";
    } catch (error) {
      this.problem = inWords(error);
    }
  }

  /** What has come since is asked for, and what was still being written. */
  async renew(now_ms: number): Promise<void> {
    const open = this.films.find(({ is_writing }) => is_writing);
    const from_ms = Math.min(open?.begin_ms ?? Infinity, (this.films.at(-1)?.end_ms ?? now_ms) - LATE_MS, now_ms);
    await this.ask({ from_ms, to_ms: now_ms + LATE_MS });
  }

  /** The server gives the newest of a time first, so it is asked again for what is before those. */
  private async pages(span: Span): Promise<{ films: Film[]; moments: Moment[]; from_ms: number }> {
    const films: Film[] = [];
    const moments: Moment[] = [];
    let { to_ms } = span;
    for (let page = 0; page < MOST_PAGES; page++) {
      const answer = await recordingsOf(this.camera, { from_ms: span.from_ms, to_ms });
      films.unshift(...answer.segments.map(filmOf));
      moments.unshift(...answer.events.map(momentOf));
      if (!answer.truncated) return { films: unique(films), moments: unique(moments), from_ms: span.from_ms };
      to_ms = oldestWhole_ms(answer);
    }
    return { films: unique(films), moments: unique(moments), from_ms: to_ms };
  }

  private take(span: Span, films: Film[], moments: Moment[]): void {
    const is_beside = this.known === null || !overlaps(this.known, span);
    this.films = is_beside ? renewed([], films, span) : renewed(this.films, films, span);
    this.moments = is_beside ? renewedMoments([], moments, span) : renewedMoments(this.moments, moments, span);
    // What lies in the future is not known, though there is nothing of it yet.
    const to_ms = Math.min(span.to_ms, Date.now());
    this.known = is_beside || !this.known ? { ...span, to_ms } : { from_ms: Math.min(span.from_ms, this.known.from_ms), to_ms: Math.max(to_ms, this.known.to_ms) };
  }
}

/** Of an answer that does not hold all: from then on it does. The longer list is the one that was cut. */
function oldestWhole_ms({ segments, events }: Recordings): number {
  const [film, moment] = [segments[0]?.begin_utc_ns ?? 0, events[0]?.at_utc_ns ?? 0];
  if (segments.length === events.length) return toMs(Math.max(film, moment));
  return toMs(segments.length > events.length ? film : moment);
}

const unique = <Each extends { id: string }>(found: Each[]): Each[] => [...new Map(found.map((each) => [each.id, each])).values()];

export class Library {
  /** None before the server has answered. */
  cameras = $state.raw<readonly RecordedCamera[] | null>(null);
  problem = $state("");
  private readonly footages = new Map<string, Footage>();

  of(camera: string): Footage {
    const found = this.footages.get(camera) ?? untrack(() => new Footage(camera)); // whoever asks first is to hear of changes, too
    this.footages.set(camera, found);
    return found;
  }

  async look(): Promise<void> {
    try {
      this.cameras = await recordedCameras();
      this.problem = "";
    } catch (error) {
      this.problem = inWords(error);
    }
  }
}
