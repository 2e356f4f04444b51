// What processors saw, by the media time of the frame they saw it on: the last few seconds of it.

const KEPT = 64, OLD_NS = 2e9, LEARNING = 0.2, WORTH_WAITING = 0.7;

export class Annotations {
  constructor() {
    this.processors = new Map();  // name -> { byTime: Map of media time -> values, newest_ns, onTime }
  }

  add({ processor, pts_ns, values }) {
    if (!this.processors.has(processor)) this.processors.set(processor, { byTime: new Map(), newest_ns: -1, onTime: 1 });
    const known = this.processors.get(processor);
    if (pts_ns <= known.newest_ns) known.byTime.clear();  // the camera's time begins anew
    known.byTime.set(pts_ns, values);
    known.newest_ns = pts_ns;
    if (known.byTime.size > KEPT) known.byTime.delete(known.byTime.keys().next().value);
  }

  // Whether all that usually comes in time has come.
  ready(pts_ns) {
    return [...this.processors.values()].every(({ newest_ns, onTime }) => newest_ns >= pts_ns || onTime < WORTH_WAITING);
  }

  // Of the frame at `pts_ns`, or of the last one before it that was looked at. Judges who comes in time.
  take(pts_ns) {
    const found = [];
    for (const [processor, known] of this.processors) {
      known.onTime += LEARNING * ((known.newest_ns >= pts_ns ? 1 : 0) - known.onTime);
      const at_ns = known.byTime.has(pts_ns) ? pts_ns : Math.max(-1, ...[...known.byTime.keys()].filter((each) => each < pts_ns));
      if (at_ns >= 0 && pts_ns - at_ns < OLD_NS) found.push({ processor, values: known.byTime.get(at_ns), late: at_ns !== pts_ns });
    }
    return found;
  }
}
