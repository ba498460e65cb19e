// List the files that the user dropped or chose, including those in folders, but no hidden ones.

const hidden = (name) => name.split("/").some((part) => part.startsWith("."));

export const fromInput = (input) => [...input.files]
  .map((file) => ({ file, name: file.webkitRelativePath || file.name }))
  .filter(({ name }) => !hidden(name));

const readAll = async (reader) => {
  const found = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return found;
    found.push(...part);
  }
};

const walk = async (entry, files) => {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    files.push({ file, name: entry.fullPath.replace(/^\//, "") });
  } else {
    for (const child of await readAll(entry.createReader())) await walk(child, files);
  }
};

export const fromDrop = async (transfer) => {
  // read all items now, because the browser clears them at the first await
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() || null);
  const plain = items.map((item) => item.getAsFile());
  const files = [];
  for (const [index, entry] of entries.entries()) {
    if (entry) await walk(entry, files);
    else if (plain[index]) files.push({ file: plain[index], name: plain[index].name });
  }
  return files.filter(({ name }) => !hidden(name));
};
