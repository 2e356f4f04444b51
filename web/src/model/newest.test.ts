import { expect, it } from "vitest";
import { Newest } from "./newest";

it("has one under way, and the newest wins", async () => {
  const sent: number[] = [];
  const ends: (() => void)[] = [];
  const newest = new Newest<number>((value) => {
    sent.push(value);
    return new Promise((done) => ends.push(done));
  });
  [1, 2, 3, 4].forEach((value) => newest.put(value));
  expect(sent).toEqual([1]);
  ends[0]!();
  await Promise.resolve();
  expect(sent).toEqual([1, 4]);
  ends[1]!();
  await Promise.resolve();
  expect(newest.is_under_way).toBe(false);
  newest.put(5);
  expect(sent).toEqual([1, 4, 5]);
});
