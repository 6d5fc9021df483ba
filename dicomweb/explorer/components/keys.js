// Keys of a page, as long as nobody types into a field or a dialog is open.

export function keys(signal, map) {
  document.addEventListener("keydown", (event) => {
    const field = event.target.closest?.("input:not([type=range]):not([type=checkbox]), textarea, select, [contenteditable], dialog, [role=menu]");
    if (field || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const handler = map[event.key] ?? map[event.key.toLowerCase()];
    if (handler && handler(event) !== false) event.preventDefault();
  }, { signal });
}
