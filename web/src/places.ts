// The places of the interface, in the order of the rail. A place that is not built yet is not shown.

import type { IconName } from "./parts/Icon.svelte";

export interface Place {
  id: string;
  label: string;
  icon: IconName;
}

const BUILT: ReadonlySet<string> = new Set(["live", "processes", "recordings", "settings"]);

const ALL: Place[] = [
  { id: "live", label: "Live", icon: "live" },
  { id: "processes", label: "Processes", icon: "processes" },
  { id: "recordings", label: "Recordings", icon: "recordings" },
  { id: "jobs", label: "Jobs", icon: "jobs" },
  { id: "settings", label: "Settings", icon: "settings" },
];

export const PLACES: Place[] = ALL.filter(({ id }) => BUILT.has(id));
