// The shape of a camera's picture, before the first one is here.

import type { Worker } from "../api/types";

const WIDE = 16 / 9;

/** Width by height, as the camera says; 16:9 before it has said so. */
export function aspectOf({ report }: Worker): number {
  const { width, height } = report?.info ?? {};
  return typeof width === "number" && typeof height === "number" && width > 0 && height > 0 ? width / height : WIDE;
}
