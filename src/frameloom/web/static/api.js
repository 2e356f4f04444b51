// Talking to the server: requests that return a problem in words or nothing, and WebSockets that come back.

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

// Keeps a WebSocket open for ever. Returns a function that closes it.
export function follow(path, { text, binary, lost }) {
  let socket, closed = false, wait_ms = 250;
  const open = () => {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      wait_ms = 250;
      if (typeof data === "string") text?.(data); else binary?.(data);
    };
    socket.onclose = () => {
      if (closed) return;
      lost?.();
      setTimeout(open, wait_ms);
      wait_ms = Math.min(5000, wait_ms * 2);
    };
  };
  open();
  return () => { closed = true; socket.close(); };
}
