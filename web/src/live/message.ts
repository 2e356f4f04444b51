// Binary messages of the server: a little-endian uint32, the length of a JSON text in bytes; the text; data.

const text = new TextDecoder();

/** The text of a message, read, and the data behind it (not copied). */
export function parted<Head>(message: ArrayBuffer): [Head, Uint8Array<ArrayBuffer>] {
  const length = new DataView(message).getUint32(0, true);
  const head = JSON.parse(text.decode(new Uint8Array(message, 4, length))) as Head;
  return [head, new Uint8Array(message, 4 + length)];
}
