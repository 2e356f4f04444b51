// Where a number stands on its slider, and how it is written.

import type { NumberDeclaration } from "../api/types";

const SKEWED = 0.05; // a default nearer to the minimum than this part of the range: the slider is finer there
const DEFAULT_AT = 0.25;
const STEPS = 1000;

export interface Scale {
  unit: string;
  slider: { min: number; max: number; step: number };
  toSlider(value: number): number;
  fromSlider(position: number): number;
  /** As a person reads and writes it. */
  text(value: number): string;
  /** Not a number where the text is none. */
  parsed(text: string): number;
  /** Where the value stands between the ends of the slider, 0 to 1. */
  share(value: number): number;
}

export function scaleOf(declaration: NumberDeclaration): Scale {
  const { minimum, maximum, default: usual, unit } = declaration;
  const share = (usual - minimum) / (maximum - minimum);
  const positions = share > 0 && share < SKEWED ? power(declaration, share) : linear(declaration);
  // A share is read more easily as a percentage: "0.2 % of the picture" for 0.002 "of the picture".
  const factor = unit.startsWith("of ") ? 100 : 1;
  const { min, max } = positions.slider;
  return {
    ...positions,
    unit: factor === 100 ? `% ${unit}` : unit,
    text: (value) => String(Number((value * factor).toPrecision(5))),
    parsed: (text) => (text.trim() ? Number((Number(text.trim().replace(",", ".")) / factor).toPrecision(8)) : NaN),
    share: (value) => (positions.toSlider(value) - min) / (max - min),
  };
}

type Positions = Pick<Scale, "slider" | "toSlider" | "fromSlider">;

function linear({ minimum, maximum, step, type }: NumberDeclaration): Positions {
  const even = step || (type === "integer" ? 1 : evenStep((maximum - minimum) / STEPS));
  return {
    slider: { min: minimum, max: maximum, step: even },
    toSlider: (value) => value,
    fromSlider: (position) => Number(position.toPrecision(8)),
  };
}

function power({ minimum, maximum, type }: NumberDeclaration, share: number): Positions {
  const exponent = Math.log(share) / Math.log(DEFAULT_AT);
  return {
    slider: { min: 0, max: STEPS, step: 1 },
    toSlider: (value) => STEPS * ((value - minimum) / (maximum - minimum)) ** (1 / exponent),
    fromSlider: (position) => {
      const value = minimum + (maximum - minimum) * (position / STEPS) ** exponent;
      const plain = type === "integer" ? Math.round(value) : Number(value.toPrecision(2));
      return Math.min(maximum, Math.max(minimum, plain));
    },
  };
}

/** 1, 2 or 5 times a power of ten, not above `step`. */
function evenStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  const digit = [5, 2, 1].find((each) => each * power <= step * 1.0001) ?? 1;
  return Number((digit * power).toPrecision(1));
}
