import { describe, expect, it } from "vitest";
import { applied, documentOf, editFor, keysAt, placeOf, valueAt } from "./yaml";

const TEXT = `# my site
site: demo   # its name

cameras:
  hall: rtsp://10.0.0.5/stream   # short
  yard:
    url: rtsp://10.0.0.6/h264
    # careful
    transport: udp
    view: {quality: 60, max_fps: 10}   # small

  desk: {url: /dev/video0}

sinks:
`;

function changed(path: string, value: unknown, text = TEXT): string {
  const edit = editFor(text, path.split("."), value);
  return edit ? applied(text, edit) : "no edit";
}

/** The lines that are not in both texts. */
function differing(after: string): string[] {
  const [old, now] = [TEXT.split("\n"), after.split("\n")];
  return [...old.filter((line) => !now.includes(line)).map((line) => `-${line}`), ...now.filter((line) => !old.includes(line)).map((line) => `+${line}`)];
}

describe("a change of one value", () => {
  it("touches the place of the value alone", () => {
    expect(differing(changed("site", "house"))).toEqual(["-site: demo   # its name", "+site: house   # its name"]);
    expect(differing(changed("cameras.yard.transport", "tcp"))).toEqual(["-    transport: udp", "+    transport: tcp"]);
    expect(differing(changed("cameras.yard.view.quality", 80))).toEqual([
      "-    view: {quality: 60, max_fps: 10}   # small", "+    view: {quality: 80, max_fps: 10}   # small",
    ]);
  });

  it("adds what is not there where it belongs", () => {
    expect(differing(changed("cameras.yard.silence_s", 5))).toEqual(["+    silence_s: 5"]);
    expect(changed("cameras.yard.silence_s", 5)).toContain("# small\n    silence_s: 5\n\n  desk");
    expect(differing(changed("cameras.yard.view.max_width", 320))).toEqual([
      "-    view: {quality: 60, max_fps: 10}   # small", "+    view: {quality: 60, max_fps: 10, max_width: 320}   # small",
    ]);
    expect(differing(changed("cameras.desk.view.quality", 70))).toEqual(["-  desk: {url: /dev/video0}", "+  desk: {url: /dev/video0, view: {quality: 70}}"]);
    expect(differing(changed("limits.start_s", 60))).toEqual(["+limits: {start_s: 60}"]);
    expect(changed("sinks.rec", { kind: "record", stream: "hall" })).toContain("sinks: {rec: {kind: record, stream: hall}}");
    expect(changed("site", "first", "")).toBe("site: first\n");
  });

  it("makes the long form of a short one", () => {
    expect(differing(changed("cameras.hall.transport", "udp"))).toEqual([
      "-  hall: rtsp://10.0.0.5/stream   # short", "+  hall: {url: rtsp://10.0.0.5/stream, transport: udp}   # short",
    ]);
  });

  it("takes out a key, and the mapping that is left empty", () => {
    expect(differing(changed("cameras.yard.transport", undefined))).toEqual(["-    transport: udp"]);
    expect(differing(changed("cameras.yard.view.max_fps", undefined))).toEqual([
      "-    view: {quality: 60, max_fps: 10}   # small", "+    view: {quality: 60}   # small",
    ]);
    expect(changed("cameras.a", undefined, "cameras:\n  a: x\nsite: b\n")).toBe("site: b\n");
    expect(changed("cameras.attic", undefined)).toBe("no edit");
  });

  it("keeps its hands off what is no YAML", () => {
    expect(editFor("a: [", ["a"], 1)).toBeNull();
  });
});

it("reads values, names and places", () => {
  const document = documentOf(TEXT)!;
  expect(keysAt(document, ["cameras"])).toEqual(["hall", "yard", "desk"]);
  expect(valueAt(document, ["cameras", "yard", "view", "quality"])).toBe(60);
  expect(valueAt(document, ["cameras", "hall"])).toBe("rtsp://10.0.0.5/stream");
  expect(valueAt(document, ["cameras", "hall", "url"])).toBeUndefined();
  expect(TEXT.slice(placeOf(document, ["cameras", "desk"])!)).toMatch(/^desk:/);
});
