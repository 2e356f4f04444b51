import { describe, expect, it } from "vitest";
import type { NumberDeclaration } from "../api/types";
import { scaleOf } from "./scale";

const number = (more: Partial<NumberDeclaration>): NumberDeclaration => ({
  name: "x", type: "number", default: 18, unit: "", description: "", minimum: 1, maximum: 255, step: 0, ...more,
});

describe("a slider", () => {
  it("goes both ways, whatever its range", () => {
    for (const declaration of [
      number({}), number({ default: 0.002, minimum: 0, maximum: 1 }), number({ default: 2, minimum: 0, maximum: 600 }),
      number({ type: "integer", default: 320, minimum: 64, maximum: 1920, step: 1 }),
    ]) {
      const { toSlider, fromSlider, slider, share } = scaleOf(declaration);
      expect(fromSlider(Math.round(toSlider(declaration.default) / slider.step) * slider.step)).toBeCloseTo(declaration.default, 3);
      expect([fromSlider(slider.min), fromSlider(slider.max)]).toEqual([declaration.minimum, declaration.maximum]);
      expect([share(declaration.minimum), share(declaration.maximum)]).toEqual([0, 1]);
    }
  });

  it("is fine where the usual value is small", () => {
    expect(scaleOf(number({ default: 0.002, minimum: 0, maximum: 1 })).share(0.002)).toBeCloseTo(0.25, 6);
  });

  it("writes shares as percentages, and reads what people type", () => {
    const scale = scaleOf(number({ default: 0.002, minimum: 0, maximum: 1, unit: "of the picture" }));
    expect([scale.text(0.002), scale.unit, scale.parsed("0,5")]).toEqual(["0.2", "% of the picture", 0.005]);
    expect([scale.parsed(""), scale.parsed("much")]).toEqual([NaN, NaN]);
  });
});
