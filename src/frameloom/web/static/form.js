// The form of a processor, made from the declaration of its parameters. Changes are sent while a slider is dragged.
import { put, say } from "./dom.js";
import { request } from "./api.js";
import { scaleOf } from "./scale.js";

const SEND_EVERY_MS = 60;
const MOST_OPEN = 3;  // so many parameters are always seen; the others are folded

export class Form {
  constructor(root, worker) {
    this.root = root;
    this.worker = worker;
    this.rows = new Map();
    this.shape = "";
    this.problem = document.createElement("p");
    this.problem.className = "problem";
    this.problem.hidden = true;
    this.problem.setAttribute("role", "alert");
    root.setAttribute("aria-label", `Parameters of ${worker}`);
    root.addEventListener("submit", (event) => event.preventDefault());
  }

  update(declared, values) {
    const shape = JSON.stringify(declared);
    if (declared.length && shape !== this.shape) this.build(declared, shape);
    for (const [name, row] of this.rows) if (name in values) row.update(values[name]);
    this.summarise();
  }

  build(declared, shape) {
    this.shape = shape;
    this.rows = new Map(declared.map((each) => [each.name, rowOf(each, this)]));
    const open = declared.filter(({ type }) => type !== "regions" && type !== "text").slice(0, declared.length > MOST_OPEN + 1 ? MOST_OPEN : undefined);
    const [first, folded] = [true, false].map((is) => declared.filter((each) => open.includes(each) === is).map(({ name }) => this.rows.get(name).root));
    this.root.replaceChildren(...first, ...this.fold(folded), this.problem);
  }

  fold(rows) {
    if (!rows.length) return [];
    const details = document.createElement("details");
    this.summary = document.createElement("summary");
    this.folded = rows;
    details.append(this.summary, ...rows);
    return [details];
  }

  summarise() {
    if (!this.summary) return;
    const changed = this.folded.filter((row) => row.classList.contains("changed")).length;
    put(this.summary, `${this.folded.length} more${changed ? `, ${changed} changed` : ""}`);
  }

  async send(name, value) {
    say(this.problem, await request("PATCH", `/api/workers/${this.worker}/parameters`, { [name]: value }));
  }
}

function rowOf(declaration, form) {
  const kinds = { number: NumberRow, integer: NumberRow, toggle: ToggleRow, choice: ChoiceRow, regions: RegionsRow };
  return new (kinds[declaration.type] || TextRow)(declaration, form);
}

// One parameter. What the person does wins over what comes back, until it has come back.
class Row {
  constructor(declaration, form) {
    this.declaration = declaration;
    this.form = form;
    this.id = `${form.worker}-${declaration.name}`;
    this.root = document.createElement("div");
    this.root.className = `row ${declaration.type}`;
    this.root.dataset.name = declaration.name;
    this.root.title = declaration.description;
    this.label = document.createElement("label");
    this.label.htmlFor = this.id;
    this.label.textContent = words(declaration);
    this.reset = document.createElement("button");
    this.reset.type = "button";
    this.reset.className = "reset";
    this.reset.textContent = "Reset";
    this.reset.addEventListener("click", () => this.take(declaration.default, true));
    this.root.append(this.label, ...this.controls(), this.reset);
    const meaning = `${this.label.textContent} to ${this.say(declaration.default)}`;
    this.reset.title = `Reset ${meaning}, the default`;
    this.reset.setAttribute("aria-label", `Reset ${meaning}`);
  }

  update(value) {
    if (this.pending || this.root.contains(document.activeElement) && this.isTyped(document.activeElement)) return;
    this.show(value);
  }

  show(value) {
    this.write(value);
    this.root.classList.toggle("changed", JSON.stringify(value) !== JSON.stringify(this.declaration.default));
  }

  take(value, shown) {
    if (shown) this.show(value);
    else this.root.classList.toggle("changed", JSON.stringify(value) !== JSON.stringify(this.declaration.default));
    this.form.summarise();
    this.next = { value };
    if (!this.pending) this.flush();
  }

  async flush() {
    this.pending = true;
    while (this.next) {
      const { value } = this.next;
      this.next = null;
      await this.form.send(this.declaration.name, value);
      await new Promise((done) => setTimeout(done, SEND_EVERY_MS));
    }
    this.pending = false;
  }

  refuse(text) {
    say(this.form.problem, `${this.label.textContent}: ${text}`);
  }

  element(tag, properties) {
    return Object.assign(document.createElement(tag), properties);
  }

  isTyped() { return false; }

  say(value) { return String(value); }
}

class NumberRow extends Row {
  controls() {
    const { minimum, maximum } = this.declaration;
    this.scale = scaleOf(this.declaration);
    this.slider = this.element("input", { type: "range", id: this.id, ...this.scale.slider() });
    this.box = this.element("input", { type: "text", inputMode: "decimal", autocomplete: "off", size: 6 });
    this.box.setAttribute("aria-label", `${this.label.textContent}, exact`);
    this.box.title = `${this.scale.text(minimum)} to ${this.scale.text(maximum)} ${this.scale.unit}`;
    const unit = this.element("span", { className: "unit", textContent: this.scale.unit });
    this.slider.addEventListener("input", () => this.slid());
    this.box.addEventListener("change", () => this.typed());
    return [this.slider, this.box, unit];
  }

  slid() {
    const value = this.scale.fromSlider(Number(this.slider.value));
    this.tell(value);
    this.take(value, false);
  }

  typed() {
    const value = this.box.value.trim() === "" ? NaN : this.scale.value(this.box.value.replace(",", "."));
    if (Number.isFinite(value)) this.take(value, true);
    else this.refuse(`read “${this.box.value}”, want a number`);
  }

  write(value) {
    this.slider.value = this.scale.toSlider(value);
    this.tell(value);
  }

  tell(value) {
    this.box.value = this.scale.text(value);
    this.slider.setAttribute("aria-valuetext", this.scale.words(value));
  }

  isTyped(element) { return element === this.box; }

  say(value) { return this.scale.words(value); }
}

class ToggleRow extends Row {
  controls() {
    this.input = this.element("input", { type: "checkbox", id: this.id });
    this.input.addEventListener("change", () => this.take(this.input.checked, true));
    return [this.input];
  }

  write(value) { this.input.checked = value; }

  say(value) { return value ? "on" : "off"; }
}

class ChoiceRow extends Row {
  controls() {
    this.input = this.element("select", { id: this.id });
    this.input.append(...this.declaration.choices.map((each) => new Option(each, each)));
    this.input.addEventListener("change", () => this.take(this.input.value, true));
    return [this.input];
  }

  write(value) { this.input.value = value; }
}

class TextRow extends Row {
  controls() {
    this.input = this.element("input", { type: "text", id: this.id, spellcheck: false });
    this.input.addEventListener("change", () => this.take(this.input.value, false));
    return [this.input];
  }

  write(value) { this.input.value = value; }

  isTyped() { return true; }
}

class RegionsRow extends Row {
  controls() {
    this.input = this.element("textarea", { id: this.id, rows: 1, spellcheck: false, placeholder: "[[[0, 0], [1, 0], [1, 1]]]" });
    this.input.addEventListener("change", () => this.read());
    this.note = this.element("span", { className: "unit" });
    return [this.input, this.note];
  }

  read() {
    try {
      this.take(JSON.parse(this.input.value || "[]"), false);
    } catch {
      this.refuse("want a list of polygons, each a list of points from 0 to 1, such as [[[0, 0], [1, 0], [1, 1]]]");
    }
  }

  write(value) {
    this.input.value = value.length ? JSON.stringify(value) : "";
    this.note.textContent = this.say(value);
  }

  isTyped(element) { return element === this.input; }

  say(value) { return value.length ? `${value.length} drawn` : "none"; }
}

// 'start after' for start_after_s in seconds: the unit is written behind the number.
function words({ name, unit }) {
  return (unit ? name.replace(new RegExp(`_${unit}$`), "") : name).replaceAll("_", " ");
}
