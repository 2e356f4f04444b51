// Where a number stands on its slider, and how it is written.

const SKEWED = 0.05;  // a default nearer to the minimum than this part of the range: the slider is finer there
const DEFAULT_AT = 0.25;
const STEPS = 1000;

export function scaleOf(declaration) {
  const { minimum, maximum, default: usual } = declaration;
  const share = (usual - minimum) / (maximum - minimum);
  return share > 0 && share < SKEWED ? new Power(declaration, share) : new Linear(declaration);
}

class Scale {
  constructor({ type, minimum, maximum, step, unit }) {
    Object.assign(this, { whole: type === "integer", minimum, maximum, step });
    // A share is read more easily as a percentage: "0.2 % of the picture" for 0.002 "of the picture".
    this.factor = unit.startsWith("of ") ? 100 : 1;
    this.unit = unit.startsWith("of ") ? `% ${unit}` : unit;
  }

  // As a person reads and writes it.
  text(value) {
    return String(Number((value * this.factor).toPrecision(5)));
  }

  value(text) {
    return Number((Number(text) / this.factor).toPrecision(8));
  }

  words(value) {
    return `${this.text(value)} ${this.unit}`.trim();
  }

  clamped(value) {
    return Math.min(this.maximum, Math.max(this.minimum, value));
  }
}

class Linear extends Scale {
  slider() {
    return { min: this.minimum, max: this.maximum, step: this.step || (this.whole ? 1 : even((this.maximum - this.minimum) / STEPS)) };
  }

  toSlider(value) { return value; }

  fromSlider(position) { return Number(position.toPrecision(8)); }
}

class Power extends Scale {
  constructor(declaration, share) {
    super(declaration);
    this.exponent = Math.log(share) / Math.log(DEFAULT_AT);
  }

  slider() {
    return { min: 0, max: STEPS, step: 1 };
  }

  toSlider(value) {
    return STEPS * ((value - this.minimum) / (this.maximum - this.minimum)) ** (1 / this.exponent);
  }

  fromSlider(position) {
    const value = this.minimum + (this.maximum - this.minimum) * (position / STEPS) ** this.exponent;
    return this.clamped(this.whole ? Math.round(value) : Number(value.toPrecision(2)));
  }
}

// 1, 2 or 5 times a power of ten, not above `step`.
function even(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  const digit = [5, 2, 1].find((each) => each * power <= step * 1.0001);
  return Number((digit * power).toPrecision(1));
}
