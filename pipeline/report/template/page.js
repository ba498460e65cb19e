"use strict";
// Turns each row of pictures into a before/after slider with a zoom that all pictures share.
// Everything also works by keyboard: the range input moves the divider; on the picture, arrows
// move the view, + and - zoom, 0 shows all of it.
for (const [index, stage] of [...document.querySelectorAll(".compare")].entries()) {
  const figures = new Map([...stage.children].map((f) => [f.dataset.kind, f]));
  const kinds = [...figures.keys()];
  const view = { z: 1, x: 0, y: 0, split: 50, mode: "slider", left: "bicubic", right: "result" };
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  const choose = (side, label) => {
    const select = make("select", { id: `${side}-${index}` },
      ...kinds.map((kind) => make("option", { value: kind, textContent: kind, selected: view[side] === kind })));
    select.addEventListener("change", () => { view[side] = select.value; draw(); });
    return make("label", {}, label, select);
  };
  const button = (text, label, act) => {
    const made = make("button", { type: "button", textContent: text });
    made.setAttribute("aria-label", label);
    made.addEventListener("click", act);
    return made;
  };
  const modes = ["slider", "grid"].map((mode) =>
    Object.assign(button(mode === "slider" ? "Slider" : "All", `Show ${mode === "slider" ? "two pictures with a slider" : "all pictures"}`,
      () => { view.mode = mode; draw(); }), { name: mode }));
  const level = make("output", { className: "small", ariaLive: "polite" });
  const controls = make("div", { className: "controls" }, ...modes, choose("left", "Left"), choose("right", "Right"),
    button("−", "Zoom out", () => zoom(view.z / 2)), button("+", "Zoom in", () => zoom(view.z * 2)),
    button("1:1", "One picture pixel for each screen pixel", () => zoom(natural())),
    button("Whole", "Show the whole picture", () => zoom(1)), level);
  controls.setAttribute("role", "group");
  controls.setAttribute("aria-label", "Comparison");
  const range = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50 });
  range.setAttribute("aria-label", "Divider: how much of the left picture is seen, per cent");
  const holder = make("div", { className: "range" }, range);
  holder.style.cssText = stage.style.cssText;
  range.addEventListener("input", () => { view.split = Number(range.value); draw(); });
  stage.before(controls);
  stage.after(holder);
  stage.classList.add("stage");
  stage.tabIndex = 0;
  stage.setAttribute("role", "group");
  stage.setAttribute("aria-label", "Pictures: arrows move, plus and minus zoom, 0 shows all");

  const box = () => (figures.get(view.left).querySelector(".pane").getBoundingClientRect());
  const natural = () => {
    const image = figures.get(view.left).querySelector("img");
    return Math.max(1, image.naturalWidth / box().width / (window.devicePixelRatio || 1));
  };
  function zoom(z, at = { x: 0.5, y: 0.5 }) {
    z = Math.min(16, Math.max(1, z));
    view.x = at.x - ((at.x - view.x) * z) / view.z;
    view.y = at.y - ((at.y - view.y) * z) / view.z;
    view.z = z;
    draw();
  }
  function draw() {
    view.x = Math.min(0, Math.max(1 - view.z, view.x));
    view.y = Math.min(0, Math.max(1 - view.z, view.y));
    const slider = view.mode === "slider";
    stage.classList.toggle("slider", slider);
    stage.classList.toggle("grid", !slider);
    stage.classList.toggle("zoomed", view.z > 1);
    stage.classList.toggle("deep", view.z >= 3);
    holder.hidden = !slider;
    for (const [kind, figure] of figures) {
      figure.classList.toggle("left", slider && kind === view.left);
      figure.classList.toggle("right", slider && kind === view.right && kind !== view.left);
    }
    for (const side of ["left", "right"]) controls.querySelector(`#${side}-${index}`).disabled = !slider;
    for (const mode of modes) mode.setAttribute("aria-pressed", String(mode.name === view.mode));
    stage.style.setProperty("--x", `${100 * view.x}%`);
    stage.style.setProperty("--y", `${100 * view.y}%`);
    stage.style.setProperty("--z", view.z);
    stage.style.setProperty("--split", `${view.split}%`);
    range.value = view.split;
    level.textContent = `zoom ${Number(view.z.toFixed(2))}×`;
  }

  const place = (event) => {
    const pane = event.target.closest?.(".pane")?.getBoundingClientRect() ?? box();
    return { x: (event.clientX - pane.left) / pane.width, y: (event.clientY - pane.top) / pane.height, pane };
  };
  // Fingers and mouse: at zoom 1 a drag moves the divider; closer, it moves the picture unless it
  // begins at the divider. Two fingers zoom.
  const fingers = new Map();
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const at = place(event);
    fingers.set(event.pointerId, at);
    stage.setPointerCapture(event.pointerId);
    const near = Math.abs(at.x * 100 - view.split) * at.pane.width < 2400;
    drag = view.mode === "slider" && (view.z === 1 || near) ? "divider" : "view";
    if (drag === "divider") { view.split = Math.min(100, Math.max(0, 100 * at.x)); draw(); }
  });
  stage.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = { pane: before.pane,
      x: (event.clientX - before.pane.left) / before.pane.width,
      y: (event.clientY - before.pane.top) / before.pane.height };
    fingers.set(event.pointerId, now);
    if (fingers.size === 2) {
      const [a, b] = fingers.values();
      const other = a === now ? b : a;
      const far = (p) => Math.hypot(p.x - other.x, p.y - other.y);
      zoom(view.z * far(now) / Math.max(1e-3, far(before)), { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
    } else if (drag === "divider") {
      view.split = Math.min(100, Math.max(0, 100 * now.x));
      draw();
    } else {
      view.x += now.x - before.x;
      view.y += now.y - before.y;
      draw();
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => { fingers.delete(event.pointerId); });
  }
  stage.addEventListener("dragstart", (event) => event.preventDefault());
  stage.addEventListener("dblclick", (event) => zoom(view.z > 1 ? 1 : 4, place(event)));
  stage.addEventListener("wheel", (event) => {
    // a plain wheel scrolls the page, as everywhere
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(view.z * Math.exp(-event.deltaY / 200), place(event));
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const step = 0.1;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === "+" || event.key === "=") zoom(view.z * 2);
    else if (event.key === "-") zoom(view.z / 2);
    else if (event.key === "0") zoom(1);
    else if (view.z > 1 && moves[event.key]) {
      view.x += moves[event.key][0];
      view.y += moves[event.key][1];
      draw();
    } else return;
    event.preventDefault();
  });
  draw();
}
