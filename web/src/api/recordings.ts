// Requests for what is recorded. Times go out as whole ns since 1970, which is more than a number of JavaScript holds exactly.

import type { Span } from "../model/timeline";
import { Problem, request } from "./http";
import type { Deletion, RecordAnswer, RecordedCamera, RecordedEvent, Recordings } from "./types";

const camera = (name: string): string => `/api/recordings/${encodeURIComponent(name)}`;
const ns = (at_us: number): string => String(BigInt(Math.max(0, at_us)) * 1000n);
/** A little more than the span, never less: a film that begins with it lies in it, however its time was rounded. */
const within = ({ from_ms, to_ms }: Span): string => `from_utc_ns=${ns(Math.floor(from_ms * 1000) - 1)}&to_utc_ns=${ns(Math.ceil(to_ms * 1000) + 1)}`;

export const recordedCameras = async (): Promise<RecordedCamera[]> =>
  (await request<{ cameras: RecordedCamera[] }>("GET", "/api/recordings")).cameras;

export const recordingsOf = (name: string, span: Span): Promise<Recordings> => request("GET", `${camera(name)}?${within(span)}`);

export const remove = (name: string, span: Span, is_dry: boolean): Promise<Deletion> =>
  request("DELETE", `${camera(name)}?${within(span)}&dry_run=${is_dry}`);

export const filmUrl = (name: string, id: string): string => `${camera(name)}/${encodeURIComponent(id)}/film.mp4`;
export const exportUrl = (name: string, span: Span): string => `${camera(name)}/export.mp4?${within(span)}`;

/** The lines of a film's results, as text; empty where there are none. */
export async function resultsOf(name: string, id: string, signal: AbortSignal): Promise<string> {
  const answer = await fetch(`${camera(name)}/${encodeURIComponent(id)}/results.jsonl`, { signal });
  return answer.ok ? answer.text() : "";
}

/** The newest events of a camera within a span, newest first. */
export const eventsOf = async (name: string, span: Span, limit: number): Promise<RecordedEvent[]> =>
  (await request<{ events: RecordedEvent[] }>("GET", `/api/events?camera=${encodeURIComponent(name)}&${within(span)}&limit=${limit}`)).events;

export const record = (name: string, on: boolean): Promise<RecordAnswer> =>
  request("POST", `/api/streams/${encodeURIComponent(name)}/record`, { on });

/** An export as it comes; `told` hears how many bytes are here. */
export async function exported(url: string, signal: AbortSignal, told: (bytes: number, of: number | null) => void): Promise<{ film: Blob; name: string }> {
  const answer = await fetch(url, { signal });
  if (!answer.ok || !answer.body) throw new Problem(await refusalOf(answer), answer);
  const of = Number(answer.headers.get("Content-Length")) || null;
  return { film: await gathered(answer.body.getReader(), (bytes) => told(bytes, of)), name: nameIn(answer.headers.get("Content-Disposition")) };
}

async function refusalOf(answer: Response): Promise<string> {
  const said = (await answer.json().catch(() => null)) as { error?: { message?: string } } | null;
  return said?.error?.message ?? `The server answered with error ${answer.status}.`;
}

const PIECE_BYTES = 16e6; // what has come is handed to the browser in such pieces: it may put them on the disk

async function gathered(reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>, told: (bytes: number) => void): Promise<Blob> {
  const pieces: Blob[] = [];
  let chunks: Uint8Array<ArrayBuffer>[] = [];
  let [bytes, waiting] = [0, 0];
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    chunks.push(next.value);
    bytes += next.value.length;
    waiting += next.value.length;
    if (waiting > PIECE_BYTES) {
      pieces.push(new Blob(chunks));
      [chunks, waiting] = [[], 0];
    }
    told(bytes);
  }
  return new Blob([...pieces, ...chunks], { type: "video/mp4" });
}

const nameIn = (disposition: string | null): string => /filename="([^"]+)"/.exec(disposition ?? "")?.[1] ?? "";
