// The table of all workers. Rows and cells stay where they are, and only what has changed is written.
import { $, memory, put, show } from "./dom.js";
import { describe } from "./worker.js";

const rows = new Map();

export function table(workers) {
  show($("workers"), workers.length > 0);
  put($("total"), total(workers.map(([, worker]) => worker)));
  const body = $("workers").querySelector("tbody");
  for (const [name, worker] of workers) {
    if (!rows.has(name)) rows.set(name, row(body));
    fill(rows.get(name), name, worker);
  }
  const names = new Set(workers.map(([name]) => name));
  for (const [name, row] of rows)
    if (!names.has(name)) { row.remove(); rows.delete(name); }
}

function total(workers) {
  const cpu_percent = workers.reduce((sum, worker) => sum + (worker.cpu_percent || 0), 0);
  const bytes = workers.reduce((sum, worker) => sum + (worker.memory_bytes || 0), 0);
  const running = workers.filter((worker) => worker.pid).length;
  return `${running} of ${workers.length} running, CPU ${cpu_percent.toFixed(0)} % of a core, ${memory(bytes)}`;
}

function row(body) {
  const titles = [...$("workers").querySelectorAll("th")];
  const found = document.createElement("tr");
  for (const title of titles) {
    const cell = document.createElement("td");
    cell.className = title.className;
    cell.dataset.title = title.textContent;
    found.append(cell);
  }
  found.children[2].append(document.createElement("span"));
  body.append(found);
  return found;
}

function fill(row, name, worker) {
  const [first, kind, state, fps, cpu, size, restarts, detail] = row.children;
  put(first, name);
  put(kind, worker.kind);
  state.firstChild.className = "state";
  state.firstChild.dataset.state = worker.state;
  put(state.firstChild, worker.state);
  put(fps, worker.report?.fps ? worker.report.fps.toFixed(1) : "–");
  put(cpu, worker.cpu_percent != null ? `${worker.cpu_percent.toFixed(0)} %` : "–");
  put(size, worker.memory_bytes ? memory(worker.memory_bytes) : "–");
  put(restarts, String(worker.restarts));
  put(detail, worker.detail || worker.report?.detail || (worker.last_error ? `last error: ${worker.last_error.message}` : ""));
  row.title = describe(worker);
}
