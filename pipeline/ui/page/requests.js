// Requests to the program behind the page. They throw errors with the program's one-line message.

const read = async (response) => {
  const found = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(found.error || `The program answered with status ${response.status}.`);
  return found;
};

export const get = async (path) => read(await fetch(path));

export const send = async (method, path, value) => read(await fetch(path, {
  method,
  headers: value === undefined ? {} : { "Content-Type": "application/json" },
  body: value === undefined ? undefined : JSON.stringify(value),
}));

// XMLHttpRequest, because fetch does not report the progress of an upload.
const put = (path, file, onSent) => new Promise((resolve, reject) => {
  const request = new XMLHttpRequest();
  request.open("PUT", path);
  request.upload.onprogress = (event) => onSent(event.loaded);
  request.onload = () => {
    if (request.status < 300) { resolve(); return; }
    let text = "";
    try { text = JSON.parse(request.responseText).error; } catch { /* the answer is not JSON */ }
    reject(new Error(text || `The upload of ${file.name} failed with status ${request.status}.`));
  };
  request.onerror = () => reject(new Error(`The upload of ${file.name} was interrupted; drop it again.`));
  request.send(file);
});

export const upload = async (job, role, files, onProgress) => {
  const address = `/api/jobs/${job}/files/${role}`;
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  await send("DELETE", address);
  let before = 0;
  for (const { file, name } of files) {
    await put(`${address}?name=${encodeURIComponent(name)}`, file, (sent) => onProgress(before + sent, total));
    before += file.size;
    onProgress(before, total);
  }
  return send("POST", address);
};
