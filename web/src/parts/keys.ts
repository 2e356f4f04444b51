// Keys that act without a focus of their own.

/** The key of a press that is neither a browser's nor meant for what is written in; else empty. */
export function plainKey(event: KeyboardEvent): string {
  const is_other = event.ctrlKey || event.metaKey || event.altKey || event.repeat;
  return is_other || (event.target as Element).closest?.("input, select, textarea, dialog, [contenteditable]") ? "" : event.key.toLowerCase();
}
