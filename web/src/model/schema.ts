// A form out of the JSON schema of site.yaml: which fields there are, of what sort, and what is allowed in each.

export type Schema = Record<string, unknown>;
export type Sort = "toggle" | "choice" | "number" | "text" | "secret" | "other";

export interface Setting {
  /** Where it stands below its entry: ["view", "quality"]. */
  path: string[];
  label: string;
  sort: Sort;
  about: string;
  usual: unknown;
  choices: string[];
  minimum: number | null;
  maximum: number | null;
  is_whole: boolean;
  is_needed: boolean;
}

const SECRETS = new Set(["password"]);
const UNITS: Record<string, string> = { s: "seconds", kbps: "kbit/s", fps: "pictures a second", days: "days", width: "pixels", height: "pixels" };

/** What a `$ref` names, and of several possible types the one that is not nothing. */
export function resolved(schema: Schema, root: Schema): Schema {
  const ref = schema["$ref"];
  const own = typeof ref === "string" ? { ...below(root, ref.replace(/^#\//, "").split("/")), ...schema } : schema;
  const some = own["anyOf"] as Schema[] | undefined;
  const real = some?.find((each) => each["type"] !== "null");
  return real ? { ...resolved(real, root), ...own } : own;
}

function below(root: Schema, path: string[]): Schema {
  return path.reduce<Schema>((at, key) => (at[key] as Schema | undefined) ?? {}, root);
}

const propertiesOf = (schema: Schema): [string, Schema][] => Object.entries((schema["properties"] as Record<string, Schema> | undefined) ?? {});

/** All fields of an entry, those of mappings inside it too. */
export function settingsOf(entry: Schema, root: Schema, before: string[] = []): Setting[] {
  const needed = new Set(entry["required"] as string[] | undefined);
  return propertiesOf(entry).flatMap(([key, each]) => {
    const schema = resolved(each, root);
    const path = [...before, key];
    if (propertiesOf(schema).length) return settingsOf(schema, root, path);
    return [settingOf(path, schema, needed.has(key))];
  });
}

function settingOf(path: string[], schema: Schema, is_needed: boolean): Setting {
  const key = path.at(-1)!;
  const choices = (schema["enum"] as string[] | undefined) ?? [];
  return {
    path,
    label: labelOf(path),
    sort: SECRETS.has(key) || schema["format"] === "password" ? "secret" : sortOf(schema, choices),
    about: aboutOf(schema, key),
    usual: schema["default"] ?? schema["const"] ?? null,
    choices,
    minimum: numberOf(schema, "minimum") ?? numberOf(schema, "exclusiveMinimum"),
    maximum: numberOf(schema, "maximum"),
    is_whole: schema["type"] === "integer",
    is_needed,
  };
}

function sortOf({ type, const: fixed }: Schema, choices: string[]): Sort {
  if (fixed !== undefined) return "other";
  if (choices.length) return "choice";
  if (type === "boolean") return "toggle";
  if (type === "integer" || type === "number") return "number";
  return type === "string" ? "text" : "other";
}

const numberOf = (schema: Schema, key: string): number | null => (typeof schema[key] === "number" ? schema[key] : null);

const LABELS: Record<string, string> = { url: "URL", fps: "Frames per second", view: "Picture for people", tls: "TLS" };

/** "Max width" of max_width, "Picture for people: quality" of view.quality. */
function labelOf(path: string[]): string {
  const words = path.map((key) => LABELS[key] ?? key.replace(/_s$/, "").replaceAll("_", " "));
  const [first = "", ...rest] = words;
  return rest.length ? `${capital(first)}: ${rest.join(" ")}` : capital(first);
}

export const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

function aboutOf(schema: Schema, key: string): string {
  const about = capital(String(schema["description"] ?? "").replaceAll("`", ""));
  const allowed = schema["allowed"];
  const said = typeof allowed === "string" ? `${about}${about ? ". " : ""}Allowed: ${allowed}` : about;
  return said && !/[.!?]$/.test(said) ? `${said}.` : said || key;
}

/** The unit behind a number, from its name. */
export function unitOf({ path }: Setting): string {
  const key = path.at(-1)!;
  return UNITS[key.split("_").at(-1)!] ?? "";
}

/** The schema of what stands at a place of the file: ["cameras", "hall"]. Of several kinds of entry that of `kind`. */
export function schemaAt(root: Schema, path: string[], kind = ""): Schema | null {
  let at: Schema | null = root;
  for (const key of path) {
    const schema: Schema = resolved(at, root);
    const properties = schema["properties"] as Record<string, Schema> | undefined;
    at = properties?.[key] ?? (typeof schema["additionalProperties"] === "object" ? (schema["additionalProperties"] as Schema) : null);
    if (!at) return null;
  }
  return ofKind(resolved(at, root), root, kind);
}

function ofKind(schema: Schema, root: Schema, kind: string): Schema {
  const some = schema["oneOf"] as Schema[] | undefined;
  if (!some) return schema;
  const all = some.map((each) => resolved(each, root));
  return all.find((each) => ((each["properties"] as Record<string, Schema> | undefined)?.["kind"]?.["const"] ?? "") === kind) ?? {};
}
