import { expect, it } from "vitest";
import { faultOfName, isFor, kindOf, nested, proposedName, WAYS } from "./camera";

it("knows an address by how it begins", () => {
  expect(WAYS.map(({ example }) => kindOf(example))).toEqual(WAYS.map(({ kind }) => kind));
  expect(["", "device:0", "RTSPS://x", "a.mp4"].map(kindOf)).toEqual([null, "device", "rtsp", "file"]);
  expect([isFor("transport", "rtsp"), isFor("transport", "file"), isFor("loop", "file"), isFor("enabled", "rtsp")]).toEqual([true, false, true, true]);
});

it("refuses names that cannot be", () => {
  const taken = new Set(["hall"]);
  expect(["yard", "hall", "", "Yard", "server", "a b"].map((name) => faultOfName(name, taken) === "")).toEqual([true, false, false, false, false, false]);
});

it("proposes names that are free", () => {
  const taken = new Set(["camera", "usb-cam", "usb-cam-2"]);
  expect(["USB Cam", "", "Axis M3045-V", "--", "server"].map((of) => proposedName(of, taken))).toEqual([
    "usb-cam-3", "camera-2", "axis-m3045-v", "camera-2", "server-2",
  ]);
});

it("gives the settings as site.yaml has them", () => {
  expect(nested(new Map<string, unknown>([["transport", "udp"], ["view.quality", 60], ["view.max_fps", 5], ["username", ""]]))).toEqual({
    transport: "udp", view: { quality: 60, max_fps: 5 },
  });
});
