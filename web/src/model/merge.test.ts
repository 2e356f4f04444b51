import { expect, it } from "vitest";
import { merged } from "./merge";

const BASE = "a\nb\nc\nd\ne\n";

it("takes the changes of both", () => {
  expect(merged(BASE, "a\nB\nc\nd\ne\n", "a\nb\nc\nd\ne\nf\n").text).toBe("a\nB\nc\nd\ne\nf\n");
  expect(merged(BASE, "b\nc\nd\ne\n", "a\nb\nc\nD\ne\n").text).toBe("b\nc\nD\ne\n");
  expect(merged(BASE, "a\nB\nc\nd\ne\n", "a\nB\nc\nd\ne\n").text).toBe("a\nB\nc\nd\ne\n");
  expect(merged(BASE, BASE, "x\n").text).toBe("x\n");
});

it("says where both changed the same", () => {
  expect(merged(BASE, "a\nmine\nc\nd\ne\n", "a\ntheirs\nc\nd\ne\n")).toEqual({ text: null, conflicts: ["mine"] });
  expect(merged(BASE, "a\nb\nmine\nc\nd\ne\n", "a\nb\ntheirs\nc\nd\ne\n").text).toBeNull();
});
