// Talking to the server: requests that return a problem in words or nothing, and WebSockets that come back.

const FIRST_WAIT_MS = 250, LONGEST_WAIT_MS = 5000, NO_CAMERA = 4404;

export async function request(method, path, body) {
  try {
    const answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (answer.ok) return "";
    const problem = await answer.json().catch(() => ({}));
    return problem.error?.message || `the server answered ${answer.status}`;
  } catch {
    return "the server does not answer";
  }
}

// A WebSocket that is opened again whenever it is lost. `silence_ms`: without a message for so long, it counts as lost.
export class Following {
  constructor(path, { take, lost, silence_ms }) {
    Object.assign(this, { path, take, lost, silence_ms, wait_ms: FIRST_WAIT_MS });
    this.open();
  }

  open() {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${this.path}`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      this.wait_ms = FIRST_WAIT_MS;
      this.watch();
      this.take(data);
    };
    socket.onclose = ({ code }) => this.again(socket, code === NO_CAMERA ? LONGEST_WAIT_MS : this.wait_ms);
    this.socket = socket;
    this.watch();
  }

  again(socket, wait_ms) {
    if (socket !== this.socket) return;
    this.socket = null;
    clearTimeout(this.timer);
    this.lost?.();
    this.wait_ms = Math.min(LONGEST_WAIT_MS, this.wait_ms * 2);
    this.timer = setTimeout(() => this.open(), wait_ms);
  }

  watch() {
    clearTimeout(this.timer);
    if (!this.silence_ms) return;
    const { socket } = this;
    this.timer = setTimeout(() => { socket.close(); this.again(socket, 0); }, this.silence_ms);
  }

  send(text) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  close() {
    const { socket } = this;
    this.socket = null;
    clearTimeout(this.timer);
    socket?.close();
  }
}
