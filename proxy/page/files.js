// The films of a choice, a drop or a paste.

/** More belong in a worklist: `python -m batch`. */
export const MAX_FILMS = 200;

/** Have `add(files)` called with what is dropped anywhere on the page, pasted, or chosen in the input. */
export function receive(input, add) {
  let depth = 0; // of elements that the dragged files are over
  const over = (change) => {
    depth = Math.max(0, depth + change);
    document.body.toggleAttribute("data-dragging", depth > 0);
  };
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

  input.addEventListener("change", () => {
    add([...input.files]);
    input.value = ""; // so that the same film can be chosen again
  });
  document.addEventListener("dragenter", (event) => carriesFiles(event) && over(1));
  document.addEventListener("dragleave", (event) => carriesFiles(event) && over(-1));
  document.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    over(0);
    add(await dropped(event.dataTransfer));
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) add([...event.clipboardData.files]);
  });
}

/** The files of a drop, those in folders as well. */
async function dropped(transfer) {
  // Taken before the first wait: the browser empties the list after it.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return files;
  const found = [];
  for (const entry of entries) await collect(entry, found);
  return found;
}

/** Add the files of an entry to `found`, one more than the page takes at most; hidden ones are left out. */
async function collect(entry, found) {
  if (found.length > MAX_FILMS || entry.name.startsWith(".")) return;
  if (entry.isFile) {
    // One that cannot be opened gets a card all the same, which says so.
    found.push(await new Promise((resolve) => entry.file(resolve, () => resolve(new File([], entry.name)))));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A folder that cannot be read on is one with no more in it.
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (some.length === 0) return;
    for (const inner of some) await collect(inner, found);
  }
}
