// Where a camera's pictures can come from, as a person is asked for it.

export type Kind = "rtsp" | "http" | "device" | "file" | "listen" | "synthetic";

export interface Way {
  kind: Kind;
  label: string;
  example: string;
  hint: string;
  /** What the server must allow for it; empty for what every server knows. */
  needs: string;
}

export const WAYS: Way[] = [
  { kind: "rtsp", label: "Network camera (RTSP)", example: "rtsp://192.168.0.20:554/stream1", needs: "rtsp://",
    hint: "What most cameras speak. Its manual, or its own settings page, names the address; look for “RTSP”." },
  { kind: "http", label: "Pictures over HTTP (MJPEG)", example: "http://192.168.0.21/video.mjpg", needs: "http://",
    hint: "Older cameras, ESP32 cameras, printers, phones with a camera app." },
  { kind: "device", label: "Webcam on this machine", example: "/dev/video0", needs: "/dev/video",
    hint: "A camera that is plugged into the machine on which Frameloom runs." },
  { kind: "file", label: "Film in a file", example: "films/street.mp4", needs: "file",
    hint: "A path on the machine on which Frameloom runs; a relative one starts beside site.yaml." },
  { kind: "listen", label: "A program that sends here", example: "tcp://127.0.0.1:9100?listen", needs: "tcp://",
    hint: "Frameloom waits at this address for MPEG-TS, as FFmpeg sends it." },
  { kind: "synthetic", label: "Test picture", example: "synthetic:counter", needs: "synthetic:",
    hint: "Pictures that Frameloom makes itself, to try things out." },
];

/** What sort of address it is, as far as it has been typed; null where it could be anything. */
export function kindOf(url: string): Kind | null {
  const text = url.trim().toLowerCase();
  if (!text) return null;
  if (/^rtsps?:/.test(text)) return "rtsp";
  if (/^https?:/.test(text)) return "http";
  if (/^(device:|\/dev\/v)/.test(text)) return "device";
  if (text.startsWith("tcp:")) return "listen";
  return text.startsWith("synthetic:") ? "synthetic" : "file";
}

const ONLY_FOR: Record<string, Kind[]> = {
  transport: ["rtsp"],
  format: ["device", "listen"],
  width: ["device", "listen"],
  height: ["device", "listen"],
  fps: ["device", "listen"],
  allow: ["listen"],
  loop: ["file", "synthetic"],
  username: ["rtsp", "http"],
  password: ["rtsp", "http"],
  connect_s: ["rtsp", "http"],
};

/** Whether a setting of a camera means anything for such an address. */
export const isFor = (setting: string, kind: Kind | null): boolean => kind === null || (ONLY_FOR[setting]?.includes(kind) ?? true);

const NAME = /^[a-z0-9][a-z0-9_-]{0,47}$/;
const TAKEN = new Set(["server", "control", "site"]);

/** What is wrong with a name, in words; empty where nothing is. */
export function faultOfName(name: string, taken: ReadonlySet<string>): string {
  if (!name) return "It needs a name.";
  if (!NAME.test(name)) return "Allowed are 1 to 48 of a-z, 0-9, - and _, beginning with a letter or a digit.";
  if (TAKEN.has(name)) return `“${name}” is a name of Frameloom's own.`;
  return taken.has(name) ? `There is a “${name}” already.` : "";
}

/** A name that is free, made of whatever the camera calls itself. */
export function proposedName(of: string, taken: ReadonlySet<string>): string {
  const base = of.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40).replace(/-+$/, "") || "camera";
  if (!faultOfName(base, taken)) return base;
  for (let number = 2; ; number++) if (!taken.has(`${base}-${number}`)) return `${base}-${number}`;
}

/** Settings by dotted names as the mapping that site.yaml has: view.quality becomes {view: {quality}}. */
export function nested(values: ReadonlyMap<string, unknown>): Record<string, unknown> {
  const whole: Record<string, unknown> = {};
  for (const [name, value] of values) {
    if (value === undefined || value === "") continue;
    const keys = name.split(".");
    const inner = keys.slice(0, -1).reduce<Record<string, unknown>>((at, key) => (at[key] ??= {}) as Record<string, unknown>, whole);
    inner[keys.at(-1)!] = value;
  }
  return whole;
}
