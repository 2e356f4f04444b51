import { expect, it } from "vitest";
import { ticksOf } from "./webrtc";

it("counts media time as the server does", () => {
  expect([0, 11_111, 11_112, 40_000_000, 1e9].map(ticksOf)).toEqual([0, 0, 1, 3600, 90_000]);
});

it("keeps 32 bits, and its precision after weeks", () => {
  expect(ticksOf(47_721_858_844_000)).toBe(2 ** 32 - 1 - 0);
  expect(ticksOf(30 * 86_400 * 1e9 + 40_000_000)).toBe((30 * 86_400 * 90_000 + 3600) % 2 ** 32);
});
