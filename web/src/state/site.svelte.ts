// What is known of the site: the newest snapshot of /api/watch, and whether it still holds.

import { Following } from "../api/socket";
import type { Site, Worker } from "../api/types";
import { Past } from "../model/past";
import { Rates } from "../model/rates";
import { me } from "./me.svelte";

const SILENCE_MS = 12_000; // the supervisor speaks every two seconds at least

export type Named = Worker & { name: string };

class SiteStore {
  site = $state.raw<Site | null>(null);
  /** Since when there has been no connection, ms since 1970; null while there is one. */
  lost_since_ms = $state<number | null>(null);
  /** When the newest snapshot came, ms since 1970. */
  heard_ms = $state(0);
  /** What is lost each second, by stream. */
  dropping = $state.raw<ReadonlyMap<string, number>>(new Map());

  /** What is shown may be out of date. */
  is_stale = $derived(this.lost_since_ms !== null || typeof this.site?.silent_since_utc_ns === "number");
  workers = $derived<Named[]>(Object.entries(this.site?.workers ?? {}).map(([name, each]) => ({ ...each, name })));
  cameras = $derived(this.workers.filter(({ kind }) => kind === "camera"));

  /** What happened while this page was open. */
  readonly past = new Past();
  private rates = new Rates();
  private following: Following | null = null;

  follow(): void {
    this.following ??= new Following(
      "/api/watch",
      { onMessage: (data) => this.take(JSON.parse(data as string) as Site), onLost: () => this.lose() },
      SILENCE_MS,
    );
  }

  /** Ask no more: nobody here may look. */
  rest(): void {
    this.following?.close();
    this.following = null;
  }

  worker(name: string): Named | undefined {
    return this.workers.find((each) => each.name === name);
  }

  /** The worker that makes a camera's pictures for viewers. */
  viewOf(camera: string): Named | undefined {
    return this.workers.find(({ kind, streams }) => kind === "view" && streams.includes(camera));
  }

  processorsOn(camera: string): Named[] {
    return this.workers.filter(({ kind, streams }) => kind === "processor" && streams.includes(camera));
  }

  /** What else reads a camera's streams: recorders, sinks. */
  othersOn(camera: string): Named[] {
    return this.workers.filter(({ kind, streams }) => kind !== "processor" && kind !== "view" && streams.some((each) => each.split(".", 1)[0] === camera));
  }

  private take(site: Site): void {
    this.dropping = this.rates.of(lostCounts(site), performance.now());
    this.site = site;
    this.heard_ms = Date.now();
    this.past.take(this.workers, this.heard_ms);
    this.lost_since_ms = null;
  }

  private lose(): void {
    this.lost_since_ms ??= Date.now();
    void me.check();
  }
}

function lostCounts(site: Site): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { report } of Object.values(site.workers))
    for (const [name, { dropped }] of Object.entries(report?.streams ?? {})) counts.set(name, dropped ?? 0);
  return counts;
}

export const store = new SiteStore();
