import { describe, expect, it } from "vitest";
import { bytes, duration, milliseconds, plural, sentence, timeOf } from "./words";

describe("words", () => {
  it("says how long", () => {
    expect([0, 59.9, 60, 61, 600, 3599, 3600, 7500, 86_400, 97_200].map(duration)).toEqual([
      "0 s", "59 s", "1 min", "1 min 1 s", "10 min", "59 min", "1 h", "2 h 5 min", "1 d", "1 d 3 h",
    ]);
  });

  it("says how much", () => {
    expect([0, 10, 480_000, 82_452_480, 1_340_000_000].map(bytes)).toEqual(["0 MB", "1 kB", "480 kB", "82 MB", "1.3 GB"]);
    expect([1.69, 9.96, 73.4].map(milliseconds)).toEqual(["1.7 ms", "10 ms", "73 ms"]);
    expect([plural(1, "process", "processes"), plural(2, "camera")]).toEqual(["1 process", "2 cameras"]);
  });

  it("names the day where it is another one", () => {
    const now = new Date(2026, 10, 21, 14, 3, 12).getTime();
    expect(timeOf(now, now)).toBe("14:03:12");
    expect(timeOf(now - 86_400_000, now)).toMatch(/20.* 14:03:12/);
  });

  it("makes sentences of the server's words", () => {
    expect(sentence("the connection was refused")).toBe("The connection was refused.");
    expect(sentence("Is it on?")).toBe("Is it on?");
    expect(sentence(" ")).toBe("");
  });
});
