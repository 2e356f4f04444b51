// Requests to the server. What fails is a `Problem`, whose message is for people.

import type { Changed, Done, LogLine, Verb } from "./types";

const PATIENCE_MS = 15_000;

/** The server refused, or did not answer; `message` says so in a sentence. */
export class Problem extends Error {
  /** Of HTTP; 0 where there was no answer. */
  readonly status: number;
  /** Of the server, for programs. */
  readonly code: string;
  /** After so long it may be tried again; null where nothing is said. */
  readonly wait_s: number | null;
  /** The whole answer. */
  readonly body: unknown;

  constructor(message: string, answer?: Response, body?: unknown) {
    super(message);
    this.status = answer?.status ?? 0;
    this.code = (body as Said | null | undefined)?.error?.code ?? "";
    this.wait_s = Number(answer?.headers.get("Retry-After")) || null;
    this.body = body;
  }
}

interface Said {
  error?: { code?: string; message?: string };
}

let onLoginNeeded = (): void => undefined;

/** `tell` is called whenever the server wants a login first. */
export const whenLoginIsNeeded = (tell: () => void): void => void (onLoginNeeded = tell);

/** `patience_ms`: so long an answer is waited for. */
export async function request<Answer>(method: string, path: string, body?: unknown, patience_ms = PATIENCE_MS): Promise<Answer> {
  const answer = await asked(method, path, body, patience_ms);
  const json: unknown = await answer.json().catch(() => null);
  if (answer.ok) return json as Answer;
  const said = (json as Said | null)?.error;
  if (answer.status === 401 && said?.code === "login-needed") onLoginNeeded();
  throw new Problem(said?.message ?? `The server answered with error ${answer.status}.`, answer, json);
}

async function asked(method: string, path: string, body: unknown, patience_ms: number): Promise<Response> {
  const init: RequestInit = { method, signal: AbortSignal.timeout(patience_ms) };
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

/** End the whole site; this page's server goes with it. */
export const shutDown = (): Promise<{ site: string }> => request("POST", "/api/shutdown");
