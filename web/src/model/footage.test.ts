import { describe, expect, it } from "vitest";
import { FilmResults } from "./filmresults";
import { amountOf, bars, filmAfter, filmAt, filmBefore, filmFrom, marks, renewed, renewedMoments, type Film } from "./footage";

const film = (begin_ms: number, end_ms: number, more: Partial<Film> = {}): Film => ({
  id: String(begin_ms), begin_ms, end_ms, bytes: 1000, codec: "h264", mime: "", frames: 10, is_writing: false, has_results: true, ...more,
});
const FILMS = [film(1000, 2000), film(2000, 3000), film(5000, 6000)];
const moment = (at_ms: number, id = String(at_ms)) => ({ id, at_ms, end_ms: null, processor: "motion", name: "motion" });

describe("films", () => {
  it("are found by time", () => {
    expect([999, 1000, 1999, 2000, 3000, 5500, 6000].map((at) => filmAt(FILMS, at)?.id)).toEqual([
      undefined, "1000", "1000", "2000", undefined, "5000", undefined,
    ]);
    expect([0, 1000, 1001, 3000, 5001].map((at) => filmFrom(FILMS, at)?.id)).toEqual(["1000", "1000", "2000", "5000", undefined]);
    expect([1000, 2000, 4000, 9000].map((at) => filmBefore(FILMS, at)?.id)).toEqual([undefined, "1000", "2000", "5000"]);
  });

  it("follow each other over gaps, and also where one is gone meanwhile", () => {
    expect(FILMS.map((each) => filmAfter(FILMS, each)?.id)).toEqual(["2000", "5000", undefined]);
    expect(filmAfter(FILMS, film(3000, 4000))?.id).toBe("5000");
  });

  it("are found where a clock was set back", () => {
    const twice = [film(1000, 9000), film(4000, 5000)];
    expect([3000, 4500, 6000].map((at) => filmAt(twice, at)?.id)).toEqual(["1000", "4000", "1000"]);
    expect(filmAfter(twice, twice[0]!)?.id).toBe("4000");
  });

  it("are renewed within a span only", () => {
    const fresh = [film(5000, 7000)];
    expect(renewed(FILMS, fresh, { from_ms: 4000, to_ms: 8000 })).toEqual([FILMS[0], FILMS[1], fresh[0]]);
    expect(renewed(FILMS, [], { from_ms: 1500, to_ms: 1600 }).map(({ id }) => id)).toEqual(["2000", "5000"]);
    expect(renewedMoments([moment(1), moment(5), moment(9)], [moment(6)], { from_ms: 4, to_ms: 8 })).toEqual([1, 6, 9].map((at) => moment(at)));
  });

  it("amount to what lies in the span", () => {
    expect(amountOf(FILMS, { from_ms: 1500, to_ms: 5500 })).toEqual({ films: 3, ms: 2000, bytes: 2000 });
    expect(amountOf(FILMS, { from_ms: 3000, to_ms: 5000 })).toEqual({ films: 0, ms: 0, bytes: 0 });
  });
});

describe("bars", () => {
  it("show gaps, and what is nearer than a pixel as one", () => {
    expect(bars(FILMS, { from_ms: 0, to_ms: 10_000 }, 1000)).toEqual([[100, 300], [500, 600]]);
    expect(bars(FILMS, { from_ms: 2500, to_ms: 5500 }, 300)).toEqual([[-50, 50], [250, 350]]);
  });

  it("are never more than there are pixels, however many films there are", () => {
    const many = Array.from({ length: 20_000 }, (_, index) => film(index * 1000, index * 1000 + 500));
    const found = bars(many, { from_ms: 0, to_ms: 2e7 }, 800);
    expect(found).toEqual([[0, expect.closeTo(800, 0)]]);
    expect(bars(many, { from_ms: 1e7, to_ms: 1e7 + 10_000 }, 800)).toHaveLength(11);
  });

  it("are at least a pixel wide", () => {
    expect(bars([film(5000, 5001)], { from_ms: 0, to_ms: 1e7 }, 100)).toEqual([[0.05, 1.05]]);
  });
});

it("marks that are too near to each other are one", () => {
  const found = marks([1, 2, 50, 200].map((at) => moment(at)), { from_ms: 0, to_ms: 100 }, 100, 8);
  expect(found.map(({ x, moments }) => [x, moments.length])).toEqual([[1, 2], [50, 1]]);
});

describe("what was seen in a film", () => {
  const line = (film_s: number, processor = "motion"): string => JSON.stringify({ processor, frame_seq: film_s * 10, film_s, values: {} });
  const results = new FilmResults([line(0.2), line(0.1), "", line(4, "people"), "{\"half"].join("\n"));
  const at = (film_s: number): number[] => results.at(film_s).map(({ frame_seq }) => frame_seq);

  it("is that of the frame, or of the last one before it, and nothing that is old", () => {
    expect([0, 0.1, 0.1999, 0.15, 1, 2.3, 4.5].map(at)).toEqual([[], [1], [2], [1], [2], [], [40]]);
    expect(results.processors).toEqual(["motion", "people"]);
  });
});
