// The form of a processor, made from the declaration of its parameters. Changes are sent while a slider is dragged.
import { request } from "./api.js";

const SEND_EVERY_MS = 60;

export class Form {
  constructor(root, worker) {
    this.root = root;
    this.worker = worker;
    this.rows = new Map();
    this.shape = "";
    this.problem = document.createElement("p");
    this.problem.className = "problem";
    this.problem.setAttribute("role", "alert");
    root.addEventListener("submit", (event) => event.preventDefault());
  }

  update(declared, values) {
    const shape = JSON.stringify(declared);
    if (declared.length && shape !== this.shape) this.build(declared, shape);
    for (const [name, row] of this.rows) if (name in values) row.show(values[name]);
  }

  build(declared, shape) {
    this.shape = shape;
    this.rows = new Map(declared.map((each) => [each.name, new Row(each, this)]));
    this.root.replaceChildren(...[...this.rows.values()].map((row) => row.root), this.problem);
  }

  async send(name, value) {
    this.problem.textContent = await request("PATCH", `/api/workers/${this.worker}/parameters`, { [name]: value });
  }
}

class Row {
  constructor(declaration, form) {
    this.declaration = declaration;
    this.form = form;
    this.root = document.createElement("div");
    this.root.className = "row";
    const id = `${form.worker}-${declaration.name}`;
    const label = document.createElement("label");
    label.htmlFor = id;
    label.textContent = declaration.name.replaceAll("_", " ");
    label.title = declaration.description;
    this.input = input(declaration);
    this.input.id = id;
    this.input.title = declaration.description;
    this.value = document.createElement("span");
    this.value.className = "value";
    this.root.append(label, this.input, this.value);
    this.input.addEventListener(declaration.type === "regions" || declaration.type === "text" ? "change" : "input", () => this.changed());
  }

  // What the person moves wins over what comes back, until it has come back.
  show(value) {
    if (this.pending || document.activeElement === this.input && this.input.type === "textarea") return;
    write(this.input, this.declaration, value);
    this.say(value);
  }

  say(value) {
    const { type, unit, default: usual } = this.declaration;
    const words = { toggle: value ? "on" : "off", regions: `${value?.length ?? 0} drawn` };
    this.value.textContent = words[type] ?? `${type === "number" ? Number(Number(value).toPrecision(4)) : value} ${unit}`;
    this.value.classList.toggle("changed", JSON.stringify(value) !== JSON.stringify(usual));
    this.value.title = `default: ${JSON.stringify(usual)} ${unit}`;
  }

  changed() {
    let value;
    try {
      value = read(this.input, this.declaration);
    } catch {
      this.form.problem.textContent = `${this.declaration.name}: not a list of polygons such as [[[0,0],[1,0],[1,1]]]`;
      return;
    }
    this.say(value);
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
}

function input({ type, minimum, maximum, step, choices }) {
  const element = document.createElement({ choice: "select", regions: "textarea" }[type] || "input");
  if (type === "number" || type === "integer") {
    element.type = "range";
    element.min = minimum;
    element.max = maximum;
    element.step = step || (maximum - minimum) / 1000;
  } else if (type === "toggle") element.type = "checkbox";
  else if (type === "choice") element.append(...choices.map((each) => new Option(each, each)));
  else if (type === "regions") { element.rows = 1; element.spellcheck = false; }
  return element;
}

function read(element, { type }) {
  if (type === "toggle") return element.checked;
  if (type === "number" || type === "integer") return Number(element.value);
  return type === "regions" ? JSON.parse(element.value || "[]") : element.value;
}

function write(element, { type }, value) {
  if (type === "toggle") element.checked = value;
  else element.value = type === "regions" ? JSON.stringify(value) : value;
}
