import { expect, it } from "vitest";
import { History, newestOf, SECONDS } from "./series";

it("keeps the last minute of each value that can be plotted", () => {
  const history = new History();
  for (let step = 0; step <= 1000; step++)
    history.take({ score: step / 1000, moving: step > 500, boxes: [[0, 0, 1, 1]], note: "text" }, step / 8);
  expect(history.series.map(({ name, kind }) => `${name}: ${kind}`)).toEqual(["score: number", "moving: yes or no", "boxes: count"]);
  expect(history.series.map(newestOf)).toEqual(["1", "yes", "1"]);
  const [score] = history.series;
  expect(score!.times_s[0]).toBeGreaterThanOrEqual(125 - SECONDS);
  expect(score!.values).toHaveLength(score!.times_s.length);
});

it("joins the two ends of an event", () => {
  const history = new History();
  const message = { id: "a", name: "motion", started_pts_ns: 0, pts_ns: 0 };
  history.take({ events: [{ ...message, phase: "start", at_ns: 5 }] }, 0);
  expect(history.events).toEqual([{ id: "a", name: "motion", started_at_ns: 5, ended_at_ns: null }]);
  history.take({ events: [{ ...message, phase: "end", at_ns: 9 }, { ...message, id: "b", phase: "start", at_ns: 11 }] }, 1);
  expect(history.events.map(({ id, started_at_ns, ended_at_ns }) => [id, started_at_ns, ended_at_ns])).toEqual([["b", 11, null], ["a", 5, 9]]);
});
