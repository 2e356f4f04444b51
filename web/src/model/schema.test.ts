import { describe, expect, it } from "vitest";
import { schemaAt, settingsOf, unitOf } from "./schema";

const ROOT = {
  properties: {
    cameras: { type: "object", additionalProperties: { $ref: "#/$defs/Camera" } },
    sinks: { type: "object", additionalProperties: { oneOf: [{ $ref: "#/$defs/View" }, { $ref: "#/$defs/Record" }] } },
  },
  $defs: {
    Camera: {
      required: ["url"],
      properties: {
        url: { type: "string", allowed: "rtsp://", description: "Where it is" },
        password: { anyOf: [{ type: "string" }, { type: "null" }], default: null, description: "only to open it" },
        transport: { enum: ["tcp", "udp"], type: "string", default: "tcp" },
        silence_s: { type: "number", minimum: 0.1, maximum: 3600, default: 10 },
        options: { type: "object", additionalProperties: { type: "string" } },
        view: { $ref: "#/$defs/View", description: "for people" },
      },
    },
    View: { properties: { kind: { const: "view", type: "string" }, max_width: { type: "integer", default: 1280 }, enabled: { type: "boolean", default: true } } },
    Record: { properties: { kind: { const: "record" }, folder: { type: "string", default: "recordings" } } },
  },
};

describe("the schema as a form", () => {
  const fields = settingsOf(schemaAt(ROOT, ["cameras", "hall"])!, ROOT);
  const field = (path: string) => fields.find((each) => each.path.join(".") === path)!;

  it("has a field for each setting, also of mappings within", () => {
    expect(fields.map(({ path, sort }) => `${path.join(".")}: ${sort}`)).toEqual([
      "url: text", "password: secret", "transport: choice", "silence_s: number", "options: other", "view.kind: other", "view.max_width: number", "view.enabled: toggle",
    ]);
    expect(field("view.max_width").label).toBe("Picture for people: max width");
  });

  it("says what is allowed, needed and usual", () => {
    expect(field("url")).toMatchObject({ is_needed: true, about: "Where it is. Allowed: rtsp://." });
    expect(field("password")).toMatchObject({ is_needed: false, usual: null, about: "Only to open it." });
    expect(field("silence_s")).toMatchObject({ minimum: 0.1, maximum: 3600, usual: 10, label: "Silence" });
    expect(unitOf(field("silence_s"))).toBe("seconds");
  });

  it("takes of several kinds the one that is meant", () => {
    expect(settingsOf(schemaAt(ROOT, ["sinks", "rec"], "record")!, ROOT).map(({ path }) => path.join("."))).toEqual(["kind", "folder"]);
    expect(schemaAt(ROOT, ["nothing"])).toBeNull();
  });
});
