// One parameter while a person changes it: what he does is shown at once and sent; what comes back does not jerk it away.

import { change, inWords } from "../../api/http";
import { Newest } from "../../model/newest";

const PAUSE_MS = 40;
const HOLD_MS = 1500; // by then the site has told of the change

export class Field<Value> {
  /** Why the last change was not taken, in words. */
  problem = $state("");
  private draft = $state.raw<{ value: Value } | null>(null);
  private readonly sender: Newest<Value>;
  private timer = 0;

  constructor(worker: string, name: string) {
    this.sender = new Newest(async (value) => {
      this.problem = await change(worker, { [name]: value }).then(({ store_error }) => store_error ?? "", inWords);
      this.settle();
    }, PAUSE_MS);
  }

  /** What is to be shown, where the site says `stored`. */
  shown(stored: Value): Value {
    return this.draft ? this.draft.value : stored;
  }

  take(value: Value): void {
    clearTimeout(this.timer);
    this.draft = { value };
    this.sender.put(value);
  }

  refuse(problem: string): void {
    this.problem = problem;
  }

  private settle(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => (this.draft = null), this.problem ? 0 : HOLD_MS);
  }
}

/** 'Start after' for start_after_s in seconds: the unit is written behind the number. */
export function labelOf({ name, unit }: { name: string; unit: string }): string {
  const words = (unit && name.endsWith(`_${unit}`) ? name.slice(0, -unit.length - 1) : name).replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
