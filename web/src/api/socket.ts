// A WebSocket that comes back: what is lost is opened again, after waits that grow.

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;
const NO_CAMERA = 4404; // it may be added later: ask, but seldom

export interface Listener {
  onMessage(data: string | ArrayBuffer): void;
  /** The connection is gone; `reason` is what the server said, or empty. */
  onLost?(reason: string): void;
}

export class Following {
  private socket: WebSocket | null = null;
  private timer = 0;
  private wait_ms = FIRST_WAIT_MS;
  private readonly path: string;
  private readonly listener: Listener;
  private readonly silence_ms: number;

  /** `silence_ms`: a connection that says nothing for so long counts as lost; 0 for one that may be quiet. */
  constructor(path: string, listener: Listener, silence_ms = 0) {
    this.path = path;
    this.listener = listener;
    this.silence_ms = silence_ms;
    this.open();
  }

  send(text: string): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  close(): void {
    const socket = this.socket;
    this.socket = null;
    clearTimeout(this.timer);
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close(); // sooner, the browser complains
    else socket?.close();
  }

  private open(): void {
    const socket = new WebSocket(addressOf(this.path));
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => this.take(socket, data);
    socket.onclose = ({ code, reason }) => this.again(socket, code === NO_CAMERA ? LONGEST_WAIT_MS : this.wait_ms, reason);
    this.socket = socket;
    this.expect(socket);
  }

  private take(socket: WebSocket, data: string | ArrayBuffer): void {
    if (socket !== this.socket) return;
    this.wait_ms = FIRST_WAIT_MS;
    this.expect(socket);
    this.listener.onMessage(data);
  }

  private again(socket: WebSocket, wait_ms: number, reason: string): void {
    if (socket !== this.socket) return;
    this.socket = null;
    clearTimeout(this.timer);
    this.wait_ms = Math.min(LONGEST_WAIT_MS, this.wait_ms * 2);
    this.timer = window.setTimeout(() => this.open(), wait_ms);
    this.listener.onLost?.(reason);
  }

  private expect(socket: WebSocket): void {
    clearTimeout(this.timer);
    if (!this.silence_ms) return;
    this.timer = window.setTimeout(() => {
      socket.close();
      this.again(socket, 0, "");
    }, this.silence_ms);
  }
}

/** Browsers of before 2024 want the whole address. */
const addressOf = (path: string): string => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
