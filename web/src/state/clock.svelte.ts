// The time of day, in steps of a second: whatever says "for 12 s" reads it.

class Clock {
  now_ms = $state(Date.now());

  constructor() {
    setInterval(() => (this.now_ms = Date.now()), 1000);
  }
}

export const clock = new Clock();
