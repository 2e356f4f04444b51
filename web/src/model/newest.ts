// Sends values one at a time: while one is under way, only the newest of those that follow is kept.

export class Newest<Value> {
  private next: { value: Value } | null = null;
  private is_busy = false;
  private readonly send: (value: Value) => Promise<void>;
  private readonly pause_ms: number;

  /** `send` must not throw. `pause_ms`: the least time from the end of one to the begin of the next. */
  constructor(send: (value: Value) => Promise<void>, pause_ms = 0) {
    this.send = send;
    this.pause_ms = pause_ms;
  }

  get is_under_way(): boolean {
    return this.is_busy;
  }

  /** One waits for that which is under way. */
  get is_waiting(): boolean {
    return this.next !== null;
  }

  put(value: Value): void {
    this.next = { value };
    if (!this.is_busy) void this.work();
  }

  private async work(): Promise<void> {
    this.is_busy = true;
    while (this.next) {
      const { value } = this.next;
      this.next = null;
      await this.send(value);
      if (this.pause_ms) await new Promise((done) => setTimeout(done, this.pause_ms));
    }
    this.is_busy = false;
  }
}
