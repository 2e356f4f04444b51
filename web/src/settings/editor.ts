// The editor of site.yaml: CodeMirror, with what the server says about it at line and column. Nothing of Svelte.

import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics, type Diagnostic } from "@codemirror/lint";
import { Compartment, EditorState, type Text } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import type { Fault } from "../api/settings";

const LOOK = EditorView.theme({
  "&": { height: "100%", backgroundColor: "var(--surface)", color: "var(--text)", fontSize: "13px" },
  "&.cm-focused": { outline: "none" }, // the frame around it shows the focus
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55", overflow: "auto" },
  ".cm-content": { caretColor: "var(--text)", padding: "8px 0" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--quiet)", border: "0" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--raised) 60%, transparent)" },
  ".cm-selectionBackground, &.cm-focused .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--accent) 30%, transparent) !important" },
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--failed)", textUnderlineOffset: "3px" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", color: "var(--text)", border: "1px solid var(--line-strong)" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--failed)" },
});

const COLOURS = HighlightStyle.define([
  { tag: [tags.definition(tags.propertyName), tags.propertyName], fontWeight: "600" },
  { tag: tags.comment, color: "var(--quiet)", fontStyle: "italic" },
  { tag: [tags.string, tags.content], color: "var(--accent)" },
  { tag: [tags.separator, tags.punctuation], color: "var(--quiet)" },
]);

export class Editor {
  private readonly view: EditorView;
  private readonly rights = new Compartment();

  /** In a tree of its own below `host`: the styles of the editor, made at run time, may stand nowhere else. */
  constructor(host: HTMLElement, text: string, onChange: (text: string) => void) {
    const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    this.view = new EditorView({
      parent: root,
      root,
      state: EditorState.create({
        doc: text,
        extensions: [
          lineNumbers(), highlightActiveLine(), highlightActiveLineGutter(), history(), drawSelection(), indentOnInput(), bracketMatching(),
          indentUnit.of("  "), yaml(), lintGutter(), syntaxHighlighting(COLOURS), LOOK, EditorView.lineWrapping,
          keymap.of([...defaultKeymap, ...historyKeymap, ...lintKeymap]),
          EditorView.contentAttributes.of({ "aria-label": "site.yaml", spellcheck: "false", autocapitalize: "off" }),
          EditorView.updateListener.of((update) => update.docChanged && onChange(update.state.doc.toString())),
          this.rights.of([]),
        ],
      }),
    });
  }

  /** Take over a text that came from elsewhere, by the smallest change: the place of the cursor and the way back stay. */
  show(text: string): void {
    const old = this.view.state.doc.toString();
    if (old === text) return;
    let [from, end] = [0, 0];
    const most = Math.min(old.length, text.length);
    while (from < most && old[from] === text[from]) from++;
    while (end < most - from && old[old.length - 1 - end] === text[text.length - 1 - end]) end++;
    this.view.dispatch({ changes: { from, to: old.length - end, insert: text.slice(from, text.length - end) } });
  }

  fix(is_fixed: boolean): void {
    this.view.dispatch({ effects: this.rights.reconfigure(EditorState.readOnly.of(is_fixed)) });
  }

  mark(faults: Fault[]): void {
    this.view.dispatch(setDiagnostics(this.view.state, faults.map((fault) => diagnosticOf(fault, this.view.state.doc))));
  }

  /** Bring a place into view, and put the cursor there where `focus` is wanted. */
  reveal(at: number, focus = false): void {
    const place = Math.min(at, this.view.state.doc.length);
    this.view.dispatch({ selection: { anchor: place }, effects: EditorView.scrollIntoView(place, { y: "center" }) });
    if (focus) this.view.focus();
  }

  /** Where a line and a column, counted from 1, stand in the text. */
  placeOf({ line, column }: Fault): number {
    return placeIn(this.view.state.doc, line, column);
  }

  close(): void {
    this.view.destroy();
  }
}

function placeIn(text: Text, line: number, column: number): number {
  const found = text.line(Math.min(Math.max(line, 1), text.lines));
  return Math.min(found.to, found.from + Math.max(0, column - 1));
}

function diagnosticOf({ line, column, path, message }: Fault, text: Text): Diagnostic {
  const at = placeIn(text, line, column);
  const found = text.lineAt(at);
  const from = Math.min(at, Math.max(found.from, found.to - 1));
  return { from, to: Math.max(from, found.to), severity: "error", message: path ? `${path}: ${message}` : message };
}
