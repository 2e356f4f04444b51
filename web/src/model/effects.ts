// What applying a changed site.yaml does, in words.

import type { Change } from "../api/settings";
import { plural } from "./words";

export interface Effect {
  worker: string;
  does: Change["does"];
  text: string;
}

const WORDS: Record<Change["does"], string> = {
  starts: "is started",
  ends: "ends",
  restarts: "is started again",
  changes: "takes new values",
  stays: "stays as it is",
};

/** What changes, the gravest first; what stays as it is is left away. */
export function effectsOf(changes: Change[]): Effect[] {
  const order: Change["does"][] = ["ends", "restarts", "starts", "changes"];
  return changes
    .filter(({ does }) => does !== "stays")
    .sort((a, b) => order.indexOf(a.does) - order.indexOf(b.does))
    .map(({ worker, does, why }) => ({ worker, does, text: why ? `${WORDS[does]} (${why})` : WORDS[does] }));
}

/** What is lost by it: usually nothing. */
export function lossOf(changes: Change[]): string {
  const count = (kind: Change["does"]): number => changes.filter(({ does }) => does === kind).length;
  const [ends, restarts] = [count("ends"), count("restarts")];
  if (changes.some(({ kind, does }) => kind === "server" && (does === "ends" || does === "restarts")))
    return "This page's server is started again: the page comes back by itself, at the address that the file says then.";
  const parts = [
    ends ? `${plural(ends, "process ends", "processes end")}; what is recorded already stays` : "",
    restarts ? `${plural(restarts, "process misses", "processes miss")} what happens in the moment of its new start` : "",
  ].filter(Boolean);
  return parts.length ? `${parts.join(". ")}.` : "Nothing is lost.";
}
