// What processors saw, by the media time of the frame they saw it on: the last few seconds of it.

import type { Result } from "../api/types";

const KEPT = 64;
const OLD_NS = 2e9;
const LEARNING = 0.2;
const WORTH_WAITING = 0.7;

interface Known {
  by_time: Map<number, Result>;
  newest_ns: number;
  /** How often it comes in time, 0 to 1, lately. */
  on_time: number;
}

export class Annotations {
  private readonly processors = new Map<string, Known>();

  add(result: Result & { pts_ns: number }): void {
    const { processor, pts_ns } = result;
    const known = this.processors.get(processor) ?? { by_time: new Map<number, Result>(), newest_ns: -1, on_time: 1 };
    this.processors.set(processor, known);
    if (pts_ns <= known.newest_ns) known.by_time.clear(); // the camera's time begins anew
    known.by_time.set(pts_ns, result);
    known.newest_ns = pts_ns;
    const [oldest] = known.by_time.keys();
    if (known.by_time.size > KEPT && oldest !== undefined) known.by_time.delete(oldest);
  }

  /** Whether all that usually comes in time has come. */
  isReady(pts_ns: number): boolean {
    return [...this.processors.values()].every(({ newest_ns, on_time }) => newest_ns >= pts_ns || on_time < WORTH_WAITING);
  }

  /** Of the frame at `pts_ns`, or of the last one before it that was looked at. Judges who comes in time. */
  take(pts_ns: number): Result[] {
    const found: Result[] = [];
    for (const known of this.processors.values()) {
      known.on_time += LEARNING * ((known.newest_ns >= pts_ns ? 1 : 0) - known.on_time);
      const at_ns = Math.max(-1, ...[...known.by_time.keys()].filter((each) => each <= pts_ns));
      const result = known.by_time.get(at_ns);
      if (result && pts_ns - at_ns < OLD_NS) found.push(result);
    }
    return found;
  }
}
