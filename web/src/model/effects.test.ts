import { expect, it } from "vitest";
import type { Change } from "../api/settings";
import { effectsOf, lossOf } from "./effects";

const change = (worker: string, does: Change["does"], why = "", kind = "camera"): Change => ({ worker, kind, does, why });

it("says what happens, the gravest first", () => {
  const changes = [change("a", "stays"), change("b", "changes", "quality"), change("c", "starts"), change("d", "ends", "taken out")];
  expect(effectsOf(changes).map(({ worker, text }) => `${worker} ${text}`)).toEqual([
    "d ends (taken out)", "c is started", "b takes new values (quality)",
  ]);
});

it("says what is lost", () => {
  expect(lossOf([change("a", "stays"), change("b", "changes"), change("c", "starts")])).toBe("Nothing is lost.");
  expect(lossOf([change("a", "ends"), change("b", "restarts"), change("c", "restarts")])).toBe(
    "1 process ends; what is recorded already stays. 2 processes miss what happens in the moment of its new start.",
  );
  expect(lossOf([change("server", "restarts", "", "server")])).toContain("This page's server");
});
