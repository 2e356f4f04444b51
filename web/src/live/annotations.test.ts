import { expect, it } from "vitest";
import { Annotations } from "./annotations";

const seen = (pts_ns: number, processor = "motion") => ({ processor, frame_seq: pts_ns, pts_ns, values: {} });
const at = (annotations: Annotations, pts_ns: number): number[] => annotations.take(pts_ns).map(({ frame_seq }) => frame_seq);

it("gives what was seen on a frame, or last before it, and nothing that is old", () => {
  const annotations = new Annotations();
  [10, 20, 40].forEach((pts_ns) => annotations.add(seen(pts_ns)));
  expect([at(annotations, 5), at(annotations, 20), at(annotations, 39), at(annotations, 41)]).toEqual([[], [20], [20], [40]]);
  expect(at(annotations, 3e9)).toEqual([]);
});

it("waits for those that come in time, and not for those that seldom do", () => {
  const annotations = new Annotations();
  annotations.add(seen(10));
  expect([annotations.isReady(10), annotations.isReady(20)]).toEqual([true, false]);
  for (let late = 20; late < 60; late += 10) annotations.take(late);
  expect(annotations.isReady(60)).toBe(true);
});

it("begins anew with the camera's time", () => {
  const annotations = new Annotations();
  annotations.add(seen(1000));
  annotations.add(seen(10));
  expect(at(annotations, 1000)).toEqual([10]);
});
