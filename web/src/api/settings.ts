// What the site is made of: its file, and its cameras (docs/http.md, "Settings").

import { Problem, request } from "./http";

const LOOKING_MS = 25_000; // the server ends the test of a camera after 15 s
const LOADING_MS = 50_000; // processors that are new are loaded to hear what they declare: up to 40 s

export interface Settings {
  /** None where the site was not made from a file. */
  file: string | null;
  /** Passwords stand in it as `***`. */
  text: string;
  version: string;
  writable: boolean;
  /** None where there is no file. */
  schema: Record<string, unknown> | null;
}

/** Line and column count from 1; 0 where the whole is meant. */
export interface Fault {
  line: number;
  column: number;
  path: string;
  message: string;
}

export interface Change {
  worker: string;
  kind: string;
  does: "starts" | "ends" | "restarts" | "changes" | "stays";
  why: string;
}

export interface Preview {
  problems: Fault[];
  changes: Change[];
  /** What would not be in effect at once. */
  notes: string[];
}

export interface Applied {
  /** Workers that did not take their new values, and why. */
  refused: Record<string, string>;
  notes: string[];
}

export const settings = (): Promise<Settings> => request("GET", "/api/settings");
export const preview = (text: string): Promise<Preview> => request("POST", "/api/settings/preview", { text }, LOADING_MS);
export const apply = (text: string, version: string): Promise<Applied> => request("PUT", "/api/settings", { text, version }, LOADING_MS);

/** What is wrong with a text that was refused; empty where it was refused for something else. */
export function faultsOf(error: unknown): Fault[] {
  if (!(error instanceof Problem)) return [];
  const body = error.body as { problems?: Fault[]; error?: { problems?: Fault[] } } | null;
  return body?.error?.problems ?? body?.problems ?? [];
}

/** `url` and whatever else is set of a camera, by the names of site.yaml. */
export type CameraSettings = Record<string, unknown> & { url: string };

export type Tested =
  | { ok: true; codec: string; width: number; height: number; fps: number | null; picture: string }
  | { ok: false; message: string };

export interface Webcam {
  url: string;
  name: string;
  /** Why it gives no picture, where that is known. */
  problem: string | null;
}

export interface Found {
  webcams: Webcam[];
  onvif: { address: string; name: string }[];
}

export interface OnvifStream {
  name: string;
  url: string;
  codec: string;
  width: number | null;
  height: number | null;
  fps: number | null;
}

const cameraPath = (name: string): string => `/api/cameras/${encodeURIComponent(name)}`;

export const testCamera = (camera: CameraSettings): Promise<Tested> => request("POST", "/api/cameras/test", camera, LOOKING_MS);
export const addCamera = (name: string, camera: CameraSettings): Promise<unknown> => request("POST", "/api/cameras", { ...camera, name }, LOADING_MS);
export const goesWith = async (name: string): Promise<string[]> =>
  (await request<{ removed: string[] }>("DELETE", `${cameraPath(name)}?dry_run=true`)).removed;
export const removeCamera = (name: string): Promise<unknown> => request("DELETE", cameraPath(name), undefined, LOADING_MS);
export const foundCameras = (): Promise<Found> => request("GET", "/api/cameras/found", undefined, LOOKING_MS);

/** Its URLs are without user and password. */
export async function onvifStreams(address: string, user: string, password: string): Promise<OnvifStream[]> {
  type Answer = { ok: true; streams: OnvifStream[] } | { ok: false; message: string };
  const answer = await request<Answer>("POST", "/api/cameras/onvif", { address, user, password }, LOOKING_MS);
  if (!answer.ok) throw new Problem(answer.message);
  return answer.streams;
}
