// From counters that are heard now and then to how fast they grow.

const WINDOW_MS = 4000;

interface Sample {
  at_ms: number;
  counts: ReadonlyMap<string, number>;
}

export class Rates {
  private samples: Sample[] = [];

  /** Growth per second over the last seconds, by name; a counter that began again counts from nothing. */
  of(counts: ReadonlyMap<string, number>, at_ms: number): Map<string, number> {
    this.samples = [...this.samples.filter((each) => at_ms - each.at_ms <= WINDOW_MS), { at_ms, counts }];
    const first = this.samples[0]!;
    const seconds = (at_ms - first.at_ms) / 1000;
    const rates = new Map<string, number>();
    for (const [name, count] of counts) {
      const grown = count - (first.counts.get(name) ?? count);
      rates.set(name, seconds > 0 ? Math.max(0, grown) / seconds : 0);
    }
    return rates;
  }
}
