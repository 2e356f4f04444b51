// The site as a graph: who reads which stream of whom, and where each process stands in the picture.
// Cameras stand left, what looks at them in the middle, what takes their streams out of the site right.

import type { Worker } from "../api/types";
import { isUp } from "./words";

export interface Node {
  name: string;
  /** None for a program that is not ours: it has joined a stream by itself. */
  worker: Worker | null;
  x: number;
  y: number;
}

export interface Edge {
  from: string;
  to: string;
  stream: string;
  /** Read now; else it would be, if the reader were at work or somebody watched. */
  is_read: boolean;
  fps: number;
  /** Items lost each second at this reader. */
  lost_per_s: number;
  path: string;
  middle: [number, number];
}

export interface Graph {
  nodes: Node[];
  edges: Edge[];
  width: number;
  height: number;
}

export const NODE = { width: 232, height: 96 };
const COLUMN = NODE.width + 96;
const ROW = NODE.height + 16;
const PORT = 14; // between the ends of two edges at one node

type Workers = Record<string, Worker>;
type Link = Omit<Edge, "path" | "middle">;

export function graphOf(workers: Workers, dropping: ReadonlyMap<string, number>): Graph {
  const links = linksOf(workers, dropping);
  const nodes = placed(workers, links);
  const edges = routed(nodes, links);
  const right = Math.max(0, ...[...nodes.values()].map(({ x }) => x + NODE.width));
  const bottom = Math.max(0, ...[...nodes.values()].map(({ y }) => y + NODE.height));
  return { nodes: [...nodes.values()], edges, width: right, height: bottom };
}

/** Which column a process stands in. */
export function columnOf(worker: Worker | null): number {
  if (!worker) return 2;
  const columns: Record<string, number> = { camera: 0, demo: 0, processor: 1, server: 3 };
  return columns[worker.kind] ?? 2;
}

export function linksOf(workers: Workers, dropping: ReadonlyMap<string, number>): Link[] {
  const links: Link[] = [];
  for (const [from, { report }] of Object.entries(workers))
    for (const [stream, { readers = [] }] of Object.entries(report?.streams ?? {}))
      for (const to of new Set(readers)) links.push(linkOf(from, to, stream, workers));
  markLosses(links, dropping);
  return [...links, ...wanted(workers, links)];
}

function linkOf(from: string, to: string, stream: string, workers: Workers): Link {
  const [source, reader] = [workers[from]?.report?.fps ?? 0, workers[to]?.report?.fps];
  const counts_itself = workers[to]?.kind === "processor" || workers[to]?.kind === "view";
  return { from, to, stream, is_read: true, fps: counts_itself ? (reader ?? source) : source, lost_per_s: 0 };
}

/** A stream's losses are those of its slowest reader. */
function markLosses(links: Link[], dropping: ReadonlyMap<string, number>): void {
  for (const [stream, lost_per_s] of dropping) {
    const readers = links.filter((each) => each.stream === stream).sort((a, b) => a.fps - b.fps);
    if (readers[0]) readers[0].lost_per_s = lost_per_s;
  }
}

/** Edges that nobody reads at the moment: a processor that is down, a view that nobody watches. */
function wanted(workers: Workers, links: Link[]): Link[] {
  const isThere = (from: string, to: string): boolean => links.some((each) => each.from === from && each.to === to);
  const idle = (from: string, to: string, stream: string): Link => ({ from, to, stream, is_read: false, fps: 0, lost_per_s: 0 });
  const server = Object.keys(workers).find((name) => workers[name]!.kind === "server");
  const found: Link[] = [];
  for (const [name, { streams, kind }] of Object.entries(workers)) {
    for (const stream of streams) {
      const owner = ownerOf(stream, workers);
      if (owner && !isThere(owner, name)) found.push(idle(owner, name, stream));
    }
    if (kind === "view" && server && !isThere(name, server)) found.push(idle(name, server, name));
  }
  return found;
}

/** Who publishes a stream: 'hall' is a worker's name, 'hall.packets' a stream beside its frames. */
export const ownerOf = (stream: string, workers: Workers): string | undefined =>
  [stream, stream.split(".", 1)[0]!].find((name) => workers[name]);

function placed(workers: Workers, links: Link[]): Map<string, Node> {
  const nodes = new Map<string, Node>();
  const put = (name: string, row: number): void => {
    const worker = workers[name] ?? null;
    nodes.set(name, { name, worker, x: columnOf(worker) * COLUMN, y: row * ROW });
  };
  let row = 0;
  for (const [camera] of Object.entries(workers).filter(([, { kind }]) => kind === "camera"))
    row += placeBand(camera, links, workers, nodes, put, row);
  for (const name of [...Object.keys(workers), ...links.map(({ to }) => to)])
    if (!nodes.has(name) && workers[name]?.kind !== "server") put(name, row++);
  for (const name of Object.keys(workers)) if (!nodes.has(name)) put(name, Math.max(0, row - 1) / 2);
  return nodes;
}

/** A camera and its readers, one row each, so that an edge that passes a column meets no node in it. */
function placeBand(
  camera: string, links: Link[], workers: Workers, nodes: Map<string, Node>, put: (name: string, row: number) => void, top: number,
): number {
  const readers = [...new Set(links.filter(({ from }) => from === camera).map(({ to }) => to))]
    .filter((name) => !nodes.has(name) && workers[name]?.kind !== "server" && workers[name]?.kind !== "camera")
    .sort((a, b) => columnOf(workers[a] ?? null) - columnOf(workers[b] ?? null));
  readers.forEach((name, index) => put(name, top + index));
  put(camera, top + Math.max(0, readers.length - 1) / 2);
  return Math.max(1, readers.length);
}

function routed(nodes: Map<string, Node>, links: Link[]): Edge[] {
  const known = links.filter(({ from, to }) => nodes.has(from) && nodes.has(to));
  const lane = (link: Link): number | null => laneOf(link, known, nodes);
  const port = (link: Link, end: "from" | "to"): number => {
    const other = end === "from" ? "to" : "from";
    const height = (each: Link): number => lane(each) ?? nodes.get(each[other])!.y + NODE.height / 2;
    const beside = known.filter((each) => each[end] === link[end]).sort((a, b) => height(a) - height(b));
    const offset = (beside.indexOf(link) - (beside.length - 1) / 2) * Math.min(PORT, (NODE.height - 24) / beside.length);
    return nodes.get(link[end])!.y + NODE.height / 2 + offset;
  };
  return known.map((link) => {
    const [x1, x2] = [nodes.get(link.from)!.x + NODE.width, nodes.get(link.to)!.x];
    const [y1, y2] = [port(link, "from"), port(link, "to")];
    const level = lane(link) ?? (x1 > NODE.width ? y1 : y2);
    return { ...link, ...curve(x1, y1, x2, y2, level) };
  });
}

/** The height at which a camera's packets pass the processors and the views: between two rows, below all that reads it. */
function laneOf({ from, to }: Link, links: Link[], nodes: Map<string, Node>): number | null {
  if (nodes.get(from)!.x > 0 || columnOf(nodes.get(to)!.worker) < 3) return null;
  const band = links.filter((each) => each.from === from && columnOf(nodes.get(each.to)!.worker) < 3).map((each) => nodes.get(each.to)!.y);
  return Math.max(nodes.get(from)!.y, ...band) + NODE.height + (ROW - NODE.height) / 2;
}

/** Curves in the gaps between columns, and runs straight past them at `level`. */
function curve(x1: number, y1: number, x2: number, y2: number, level: number): Pick<Edge, "path" | "middle"> {
  const gap = COLUMN - NODE.width;
  const [begin, end] = [Math.min(x2, x1 + gap), Math.max(x1, x2 - gap)];
  const bow = (from: number, y_from: number, to: number, y_to: number): string =>
    `C${(from + to) / 2} ${y_from} ${(from + to) / 2} ${y_to} ${to} ${y_to}`;
  if (begin >= x2) return { path: `M${x1} ${y1}${bow(x1, y1, x2, y2)}`, middle: [(x1 + x2) / 2, (y1 + y2) / 2] };
  const path = `M${x1} ${y1}${bow(x1, y1, begin, level)}L${end} ${level}${bow(end, level, x2, y2)}`;
  return { path, middle: level === y1 ? [(end + x2) / 2, (level + y2) / 2] : [(x1 + begin) / 2, (y1 + level) / 2] };
}

/** Processes that work, and what all take together. */
export function totals(workers: Workers): { up: number; all: number; cpu_percent: number; memory_bytes: number } {
  const each = Object.values(workers);
  return {
    up: each.filter(isUp).length,
    all: each.length,
    cpu_percent: each.reduce((sum, { cpu_percent }) => sum + (cpu_percent ?? 0), 0),
    memory_bytes: each.reduce((sum, { memory_bytes }) => sum + (memory_bytes ?? 0), 0),
  };
}
