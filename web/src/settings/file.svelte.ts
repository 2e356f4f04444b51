// site.yaml as it is edited here: what was read, what a person makes of it, what the server says of that.

import { inWords, Problem } from "../api/http";
import { apply, faultsOf, preview, settings, type Change, type Fault, type Settings } from "../api/settings";
import { merged } from "../model/merge";
import { sentence } from "../model/words";

const PAUSE_MS = 350;

class SiteFile {
  /** As it was read last; null before that. */
  known = $state.raw<Settings | null>(null);
  text = $state("");
  /** Why it could not be read, looked at or applied. */
  problem = $state("");
  faults = $state.raw<Fault[]>([]);
  changes = $state.raw<Change[]>([]);
  /** What would not be in effect at once. */
  notes = $state.raw<string[]>([]);
  /** The server is looking at what was typed. */
  is_checking = $state(false);
  is_applying = $state(false);
  /** What somebody else made of it meanwhile. */
  theirs = $state.raw<Settings | null>(null);
  /** What has just been done, in words. */
  news = $state("");

  is_changed = $derived(this.known !== null && this.text !== this.known.text);
  is_good = $derived(this.is_changed && !this.is_checking && !this.faults.length && !this.problem);

  private timer = 0;
  private asked = 0;

  /** Read it, where nothing that was typed would be lost. */
  async read(): Promise<void> {
    if (this.is_changed) return;
    try {
      this.take(await settings());
      this.problem = "";
    } catch (error) {
      this.problem = inWords(error);
    }
  }

  edit(text: string): void {
    if (text === this.text) return;
    this.text = text;
    this.news = "";
    this.look();
  }

  discard(): void {
    if (!this.known) return;
    this.theirs = null;
    this.edit(this.known.text);
    void this.read();
  }

  async apply(): Promise<void> {
    if (!this.known) return;
    this.is_applying = true;
    this.problem = "";
    try {
      const { refused, notes } = await apply(this.text, this.known.version);
      this.take(await settings());
      const refusals = Object.entries(refused).map(([worker, why]) => `${worker} did not take it: ${sentence(why)}`);
      this.news = ["Applied.", ...refusals, ...notes.map(sentence)].join(" ");
    } catch (error) {
      await this.refused(error);
    }
    this.is_applying = false;
  }

  /** Lines of mine that they changed as well; none where both go together. */
  conflicts = $derived(this.theirs && this.known ? merged(this.known.text, this.text, this.theirs.text).conflicts : []);

  merge(): void {
    const both = this.theirs && this.known ? merged(this.known.text, this.text, this.theirs.text).text : null;
    if (both !== null) this.over(both);
  }

  /** Go on with my text, over theirs. */
  keepMine(): void {
    this.over(this.text);
  }

  takeTheirs(): void {
    if (this.theirs) this.over(this.theirs.text);
  }

  private over(text: string): void {
    this.known = this.theirs;
    this.theirs = null;
    this.problem = "";
    this.text = text;
    this.look();
  }

  private take(read: Settings): void {
    this.known = read;
    this.theirs = null;
    this.text = read.text;
    this.faults = [];
    this.changes = [];
  }

  private async refused(error: unknown): Promise<void> {
    if (error instanceof Problem && error.code === "changed-meanwhile") {
      this.theirs = await settings().catch(() => null);
      return;
    }
    this.faults = faultsOf(error);
    this.problem = this.faults.length ? "" : inWords(error);
  }

  private look(): void {
    clearTimeout(this.timer);
    this.asked++;
    this.is_checking = this.is_changed;
    if (this.is_changed) this.timer = window.setTimeout(() => void this.ask(), PAUSE_MS);
    else Object.assign(this, { faults: [], changes: [], notes: [], problem: "" });
  }

  private async ask(): Promise<void> {
    const number = this.asked;
    const answer = await preview(this.text).catch(inWords);
    if (number !== this.asked) return;
    this.is_checking = false;
    this.problem = typeof answer === "string" ? answer : "";
    if (typeof answer !== "string") [this.faults, this.changes, this.notes] = [answer.problems, answer.changes, answer.notes];
  }
}

export const file = new SiteFile();
