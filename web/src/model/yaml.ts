// site.yaml as text and as values at once. A change of one value touches only the place where it stands:
// comments, order and spaces of everything else stay as a person wrote them.

import { Document, isMap, isScalar, parseDocument, stringify, type Node, type Pair, type YAMLMap } from "yaml";

export type Path = string[];

/** Replace `text` from `from` to `to` by `insert`. */
export interface Edit {
  from: number;
  to: number;
  insert: string;
}

const STEP = 2;

/** None where the text is no YAML at the moment. */
export function documentOf(text: string): Document | null {
  const document = parseDocument(text, { keepSourceTokens: true, uniqueKeys: true });
  return document.errors.length ? null : (document as unknown as Document);
}

/** What stands at `path`; undefined for nothing. */
export function valueAt(document: Document, path: Path): unknown {
  const node = nodeAt(document, path);
  return node == null ? undefined : isScalar(node) ? node.value : (node.toJS(document) as unknown);
}

/** Names of what stands in the mapping at `path`. */
export function keysAt(document: Document, path: Path): string[] {
  const map = nodeAt(document, path);
  return isMap(map) ? map.items.map(keyOf) : [];
}

/** Where the key at `path` begins in the text; null where it is not there. */
export function placeOf(document: Document, path: Path): number | null {
  const pair = pairAt(document, path);
  return pair ? startOf(pair) : null;
}

export const applied = (text: string, { from, to, insert }: Edit): string => text.slice(0, from) + insert + text.slice(to);

/** The smallest edit after which `value` stands at `path`; undefined takes the key out. Null where it cannot be made. */
export function editFor(text: string, path: Path, value: unknown): Edit | null {
  const document = documentOf(text);
  if (!document) return null;
  const pair = pairAt(document, path);
  if (value === undefined) return pair ? withoutPair(text, document, path, pair) : null;
  return pair ? inPlace(text, pair, value) : added(text, document, path, value);
}

function nodeAt(document: Document, path: Path): Node | null | undefined {
  let node: unknown = document.contents;
  for (const key of path) {
    const pair: Pair | undefined = isMap(node) ? node.items.find((each) => keyOf(each) === key) : undefined;
    if (!pair) return undefined;
    node = pair.value;
  }
  return node as Node | null;
}

function pairAt(document: Document, path: Path): Pair | undefined {
  const map = nodeAt(document, path.slice(0, -1));
  return isMap(map) ? map.items.find((each) => keyOf(each) === path.at(-1)) : undefined;
}

const keyOf = ({ key }: Pair): string => String(isScalar(key) ? key.value : key);
const rangeOf = (node: unknown): [number, number, number] | null => (node as Node | null)?.range ?? null;
const startOf = (pair: Pair): number => rangeOf(pair.key)![0];

/** As it is written behind a key, on one line. */
export function written(value: unknown): string {
  const flow = typeof value === "object" && value !== null;
  return stringify(value, { lineWidth: 0, ...(flow ? { collectionStyle: "flow" as const, flowCollectionPadding: false } : { defaultStringType: "PLAIN" as const }) }).trimEnd();
}

function inPlace(text: string, pair: Pair, value: unknown): Edit {
  const range = rangeOf(pair.value);
  const insert = oneLine(value);
  if (!range || range[0] === range[1]) {
    const at = text.indexOf(":", rangeOf(pair.key)![1]) + 1;
    return { from: at, to: at, insert: ` ${insert}` };
  }
  return { from: range[0], to: range[1], insert };
}

/** A text of several lines would not fit where one stood. */
const oneLine = (value: unknown): string => (typeof value === "string" && value.includes("\n") ? JSON.stringify(value) : written(value));

function withoutPair(text: string, document: Document, path: Path, pair: Pair): Edit {
  const map = nodeAt(document, path.slice(0, -1)) as YAMLMap;
  if (map.flow) return withoutInFlow(map, pair);
  if (map.items.length === 1 && path.length > 1) return withoutPair(text, document, path.slice(0, -1), pairAt(document, path.slice(0, -1))!);
  const from = lineStart(text, startOf(pair));
  const end = rangeOf(pair.value)?.[1] ?? rangeOf(pair.key)![1];
  return { from, to: text.indexOf("\n", Math.max(end - 1, startOf(pair))) + 1 || text.length, insert: "" };
}

function withoutInFlow(map: YAMLMap, pair: Pair): Edit {
  const index = map.items.indexOf(pair);
  const [before, after] = [map.items[index - 1], map.items[index + 1]];
  const end = (each: Pair): number => rangeOf(each.value)?.[1] ?? rangeOf(each.key)![1];
  if (after) return { from: startOf(pair), to: startOf(after), insert: "" };
  return { from: before ? end(before) : startOf(pair), to: end(pair), insert: "" };
}

const lineStart = (text: string, at: number): number => text.lastIndexOf("\n", at - 1) + 1;

function added(text: string, document: Document, path: Path, value: unknown): Edit {
  const parent = pairAt(document, path.slice(0, -1));
  const map = nodeAt(document, path.slice(0, -1));
  const key = written(path.at(-1)!);
  if (isMap(map) && map.items.length) return map.flow ? intoFlow(map, key, value) : intoBlock(text, map, key, value);
  if (path.length === 1) return atEnd(text, `${key}: ${oneLine(value)}\n`);
  // The mapping is not there yet, or is nothing, or is a URL alone.
  const short = isScalar(map) && typeof map.value === "string" ? { url: map.value } : {};
  const whole = { ...short, [path.at(-1)!]: value };
  return parent ? inPlace(text, parent, whole) : added(text, document, path.slice(0, -1), whole);
}

function intoFlow(map: YAMLMap, key: string, value: unknown): Edit {
  const last = map.items.at(-1)!;
  const at = rangeOf(last.value)?.[1] ?? rangeOf(last.key)![1];
  return { from: at, to: at, insert: `, ${key}: ${oneLine(value)}` };
}

function intoBlock(text: string, map: YAMLMap, key: string, value: unknown): Edit {
  const first = startOf(map.items[0]!);
  const indent = " ".repeat(first - lineStart(text, first));
  const last = map.items.at(-1)!;
  const end = Math.max(rangeOf(last.value)?.[1] ?? 0, rangeOf(last.key)![1]);
  const newline = text[end - 1] === "\n" ? end - 1 : text.indexOf("\n", end);
  const at = newline < 0 ? text.length : newline + 1;
  return { from: at, to: at, insert: `${newline < 0 ? "\n" : ""}${indent}${lines(key, value, indent)}\n` };
}

/** A mapping of its own gets lines of its own; a short one stays on the line. */
function lines(key: string, value: unknown, indent: string): string {
  const plain = `${key}: ${oneLine(value)}`;
  if (plain.length < 90 || typeof value !== "object" || value === null || Array.isArray(value)) return plain;
  const inner = indent + " ".repeat(STEP);
  return [`${key}:`, ...Object.entries(value).map(([name, each]) => `${inner}${written(name)}: ${oneLine(each)}`)].join("\n");
}

function atEnd(text: string, insert: string): Edit {
  const gap = !text || text.endsWith("\n") ? "" : "\n";
  return { from: text.length, to: text.length, insert: gap + insert };
}
