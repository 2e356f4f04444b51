// Requests to the server. What fails is a `Problem`, whose message is for people.

import type { Changed, Done, LogLine, Verb } from "./types";

const PATIENCE_MS = 15_000;

/** The server refused, or did not answer; `message` says so in a sentence. */
export class Problem extends Error {}

async function request<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
  const answer = await asked(method, path, body);
  const json: unknown = await answer.json().catch(() => null);
  if (answer.ok) return json as Answer;
  const said = (json as { error?: { message?: string } } | null)?.error?.message;
  throw new Problem(said ?? `The server answered with error ${answer.status}.`);
}

async function asked(method: string, path: string, body: unknown): Promise<Response> {
  const init: RequestInit = { method, signal: AbortSignal.timeout(PATIENCE_MS) };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  try {
    return await fetch(path, init);
  } catch {
    throw new Problem("The server does not answer.");
  }
}

/** A problem in words, whatever was thrown. */
export const inWords = (error: unknown): string =>
  error instanceof Problem ? error.message : `Unexpected: ${String(error)}`;

export const order = (worker: string, verb: Verb): Promise<Done> =>
  request("POST", `/api/workers/${encodeURIComponent(worker)}/${verb}`);

export const change = (worker: string, values: Record<string, unknown>): Promise<Changed> =>
  request("PATCH", `/api/workers/${encodeURIComponent(worker)}/parameters`, values);

export const logs = async (worker: string, after: number): Promise<LogLine[]> => {
  const path = `/api/workers/${encodeURIComponent(worker)}/logs?lines=300&after=${after}`;
  return (await request<{ lines: LogLine[] }>("GET", path)).lines;
};

export const snapshotOf = (stream: string): string => `/streams/${encodeURIComponent(stream)}/snapshot.jpg`;
