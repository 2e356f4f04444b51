// Starting and stopping recordings, with one click or key, and what came of it.

import { SvelteMap, SvelteSet } from "svelte/reactivity";
import { inWords } from "../api/http";
import { record } from "../api/recordings";
import { isRecording, isToRecord, recordersOf } from "../model/recorders";
import { announcer } from "./announcer.svelte";
import { store } from "./site.svelte";

class Recording {
  /** Cameras whose order is under way. */
  readonly ordered = new SvelteSet<string>();
  readonly problems = new SvelteMap<string, string>();

  isOn(camera: string): boolean {
    return recordersOf(store.workers, camera).some(isRecording);
  }

  /** Whether it is recorded, or would be if that were possible. */
  isWanted(camera: string): boolean {
    return recordersOf(store.workers, camera).some(isToRecord);
  }

  /** Since when the newest film of a camera is written, ns since 1970; null where none is. */
  sinceOf(camera: string): number | null {
    const since = recordersOf(store.workers, camera).filter(isRecording).map((each) => each.report?.info["since_utc_ns"]);
    return since.find((each) => typeof each === "number") ?? null;
  }

  async set(camera: string, on: boolean): Promise<void> {
    if (this.ordered.has(camera)) return;
    this.ordered.add(camera);
    this.problems.delete(camera);
    try {
      const { recording } = await record(camera, on);
      announcer.say(recording ? `Recording ${camera}` : `Not recording ${camera} any more`);
    } catch (error) {
      this.problems.set(camera, inWords(error));
    }
    this.ordered.delete(camera);
  }

  toggle(camera: string): Promise<void> {
    return this.set(camera, !this.isWanted(camera));
  }

  async setAll(on: boolean): Promise<void> {
    await Promise.all(store.cameras.filter(({ name }) => this.isWanted(name) !== on).map(({ name }) => this.set(name, on)));
  }
}

export const recording = new Recording();
