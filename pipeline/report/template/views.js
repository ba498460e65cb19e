"use strict";
// Viewer for a light field: a drag or the arrow keys move from view to view, a slider moves the plane
// of focus, and a strip shows one line of pixels from every view in the row.
for (const field of document.querySelectorAll(".lightfield")) {
  const data = JSON.parse(field.querySelector("script").textContent);
  const at = { row: data.start[0], col: data.start[1], focus: null, y: Math.floor(data.height / 2) };
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  let waiting = 0;
  const load = (address) => {
    const image = new Image();
    waiting += 1;
    image.addEventListener("load", () => {
      waiting -= 1;
      field.ariaBusy = String(waiting > 0);
      draw();
    });
    image.src = address;
    return image;
  };
  const views = Array.from({ length: data.rows }, () => Array(data.cols).fill(null));
  for (const [row, col, address] of data.views) views[row][col] = load(address);
  const sharp = data.focus.map(([, address]) => load(address));

  const canvas = make("canvas", { width: data.width, height: data.height });
  const line = make("div", { className: "line" });
  const eye = make("div", { className: "eye", tabIndex: 0 }, canvas, line);
  eye.setAttribute("role", "group");
  eye.setAttribute("aria-label", "Light field: drag or use the arrow keys to move from view to view");
  const strip = make("canvas", { className: "epi" });
  strip.setAttribute("role", "img");
  const sliders = make("div", { className: "sliders" });
  const slider = (label, min, max, value, act) => {
    const input = make("input", { type: "range", min, max, step: 1, value });
    input.setAttribute("aria-label", label);
    input.disabled = min === max;
    const shown = make("output", {});
    input.addEventListener("input", () => { act(Number(input.value)); draw(); });
    sliders.append(make("span", { textContent: label }), input, shown);
    return { input, shown };
  };
  const row = slider("Row", 0, data.rows - 1, at.row, (value) => { at.row = value; at.focus = null; });
  const col = slider("Column", 0, data.cols - 1, at.col, (value) => { at.col = value; at.focus = null; });
  const focus = slider("Focus", -1, sharp.length - 1, -1, (value) => { at.focus = value < 0 ? null : value; });
  const level = slider("Line", 0, data.height - 1, at.y, (value) => { at.y = value; });
  const caption = make("p", { className: "small", ariaLive: "polite" });
  field.append(eye, sliders, strip, caption);
  field.classList.add("live");
  for (const hint of document.querySelectorAll(".needs-script")) hint.style.display = "block";

  const ready = (image) => image && image.complete && image.naturalWidth > 0;
  function draw() {
    const image = at.focus === null ? views[at.row][at.col] : sharp[at.focus];
    const ink = canvas.getContext("2d");
    if (ready(image)) ink.drawImage(image, 0, 0);
    else ink.clearRect(0, 0, data.width, data.height);
    epipolar();
    const name = `(${data.first[0] + at.row}, ${data.first[1] + at.col})`;
    const sharpAt = at.focus === null ? "" : `${data.focus[at.focus][0] >= 0 ? "+" : ""}${data.focus[at.focus][0]} px`;
    row.input.value = at.row;
    col.input.value = at.col;
    focus.input.value = at.focus === null ? -1 : at.focus;
    row.shown.textContent = data.first[0] + at.row;
    col.shown.textContent = data.first[1] + at.col;
    focus.shown.textContent = sharpAt || "all";
    focus.input.setAttribute("aria-valuetext", sharpAt ? `sharp at a disparity of ${sharpAt} per step` : "everything sharp: one view");
    level.shown.textContent = at.y;
    line.style.top = `${(100 * (at.y + 0.5)) / data.height}%`;
    const hole = image === null ? ", which is missing" : "";
    caption.textContent = at.focus === null ? `View ${name}${hole}` : `All views together, sharp at ${sharpAt} per step`;
    canvas.textContent = caption.textContent;
  }
  // Draws line y of every view in the row, or in the column if each row has only one view.
  function epipolar() {
    const across = data.cols > 1;
    const members = across ? views[at.row] : views.map((line) => line[0]);
    const thick = Math.max(4, Math.round(64 / members.length));
    strip.width = across ? data.width : data.height;
    strip.height = thick * members.length;
    const ink = strip.getContext("2d");
    const x = Math.min(data.width - 1, at.y);
    for (const [n, image] of members.entries()) {
      if (!ready(image)) continue;
      if (across) ink.drawImage(image, 0, at.y, data.width, 1, 0, n * thick, data.width, thick);
      else {
        ink.setTransform(0, 1, 1, 0, 0, 0); // draw the column as a line
        ink.drawImage(image, x, 0, 1, data.height, n * thick, 0, thick, data.height);
        ink.resetTransform();
      }
    }
    strip.setAttribute("aria-label", `Picture line ${at.y} of ${members.length} views, one below the other`);
  }
  function move(rows, cols) {
    at.row = Math.min(data.rows - 1, Math.max(0, rows));
    at.col = Math.min(data.cols - 1, Math.max(0, cols));
    at.focus = null;
    draw();
  }

  let drag = null;
  eye.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    drag = { x: event.clientX, y: event.clientY, row: at.row, col: at.col };
    eye.setPointerCapture(event.pointerId);
  });
  eye.addEventListener("pointermove", (event) => {
    if (!drag) return;
    // the width of the picture corresponds to the width of the grid
    const box = canvas.getBoundingClientRect();
    move(drag.row + Math.round(((event.clientY - drag.y) / box.height) * data.rows),
      drag.col + Math.round(((event.clientX - drag.x) / box.width) * data.cols));
  });
  for (const name of ["pointerup", "pointercancel"]) eye.addEventListener(name, () => { drag = null; });
  eye.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!steps) return;
    move(at.row + steps[0], at.col + steps[1]);
    event.preventDefault();
  });
  draw();
}
