import { describe, expect, it } from "vitest";
import type { Report, Worker } from "../api/types";
import { graphOf, linksOf, NODE, totals } from "./graph";

const worker = (kind: string, fps: number, streams: string[] = [], published: Report["streams"] = {}): Worker => ({
  kind, streams, enabled: true, state: "running", detail: "", pid: 1, restarts: 0, since_utc_ns: 0, uptime_s: 1, next_start_s: null,
  last_error: null, cpu_percent: 2, memory_bytes: 1e6, declared: [], values: {},
  report: { state: "running", detail: "", fps, frames: 0, dropped: 0, latency_ms: null, streams: published, info: {} },
});

const SITE = {
  hall: worker("camera", 25, [], { hall: { kind: "frames", readers: ["motion", "hall.view", "a-script"] } }),
  yard: worker("camera", 10, [], { yard: { kind: "frames", readers: [] } }),
  motion: worker("processor", 12, ["hall"], { motion: { kind: "results", readers: ["server"] } }),
  waiting: worker("processor", 0, ["yard"]),
  "hall.view": worker("view", 25, ["hall"], { "hall.view": { kind: "packets", readers: ["server"] } }),
  "yard.view": worker("view", 0, ["yard"]),
  server: worker("server", 0),
};

describe("the graph", () => {
  it("has an edge for each reader, and one for each that will be", () => {
    const links = linksOf(SITE, new Map([["hall", 13]]));
    const text = links.map(({ from, to, is_read, fps, lost_per_s }) => `${from}>${to} ${is_read ? fps : "-"} ${lost_per_s}`);
    expect(text.sort()).toEqual([
      "hall.view>server 25 0", "hall>a-script 25 0", "hall>hall.view 25 0", "hall>motion 12 13", "motion>server 12 0",
      "yard.view>server - 0", "yard>waiting - 0", "yard>yard.view - 0",
    ]);
  });

  it("puts no process on another, and no edge through one", () => {
    const { nodes, edges } = graphOf(SITE, new Map());
    expect(nodes.length).toBe(8); // the script, too
    for (const a of nodes)
      for (const b of nodes)
        if (a !== b) expect(a.x !== b.x || Math.abs(a.y - b.y) >= NODE.height, `${a.name} on ${b.name}`).toBe(true);
    const passing = edges.find(({ to }) => to === "hall.view")!;
    const level = Number(/L\d+ ([\d.]+)/.exec(passing.path)![1]);
    const met = nodes.filter(({ x, y }) => x === nodes.find(({ name }) => name === "motion")!.x && level >= y && level <= y + NODE.height);
    expect(met).toEqual([]);
  });

  it("leads packets past everything to the server, and a recorder to its camera", () => {
    const yard = worker("camera", 10, [], { yard: { kind: "frames", readers: [] }, "yard.packets": { kind: "packets", readers: ["server"] } });
    const site = { ...SITE, yard, recorder: worker("recorder", 0, ["yard.packets"]) };
    const { nodes, edges } = graphOf(site, new Map());
    expect(edges.find(({ to }) => to === "recorder")?.from).toBe("yard");
    const direct = edges.find(({ from, to }) => from === "yard" && to === "server")!;
    const level = Number(/L\d+ ([\d.]+)/.exec(direct.path)![1]);
    expect(nodes.filter(({ y }) => level >= y && level <= y + NODE.height).map(({ name }) => name)).toEqual([]);
  });

  it("adds up", () => {
    expect(totals(SITE)).toEqual({ up: 7, all: 7, cpu_percent: 14, memory_bytes: 7e6 });
    expect(graphOf({}, new Map())).toEqual({ nodes: [], edges: [], width: 0, height: 0 });
  });
});
