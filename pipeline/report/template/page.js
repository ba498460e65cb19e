"use strict";
// Turns the rows of pictures into one before/after slider with a tab for each frame. Zoom, position
// and divider stay the same when the frame or the pair of pictures changes. With the keyboard, arrow
// keys choose a tab, and the range input moves the divider. On the picture, arrow keys move the view,
// + and - zoom, and 0 shows the whole picture.
{
  const view = { z: 1, x: 0, y: 0, split: 50, mode: "slider", left: "bicubic", right: "result" };
  const limit = (value, low, high) => Math.min(high, Math.max(low, value));
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const exhibits = [...document.querySelectorAll(".exhibit")].map((section) => {
    const stage = section.querySelector(".compare");
    const frame = make("div", { className: "frame" });
    frame.style.cssText = stage.style.cssText;
    stage.replaceWith(frame);
    frame.append(stage);
    return { section, stage, frame, figures: new Map([...stage.children].map((f) => [f.dataset.kind, f])) };
  });
  let shown = exhibits[0];

  // One set of controls for all frames.
  const button = (text, title, act) => {
    const made = make("button", { type: "button", textContent: text, title });
    if (text.length === 1) made.ariaLabel = title; // screen readers may not read a symbol out
    made.addEventListener("click", act);
    return made;
  };
  const choose = (side, label) => {
    const select = make("select", { className: `side ${side}`, ariaLabel: label });
    select.addEventListener("change", () => { view[side] = select.value; draw(); });
    return select;
  };
  const sides = { left: choose("left", "Picture on the left"), right: choose("right", "Picture on the right") };
  const pairs = { slider: ["bicubic", "result"], heat: ["result", "borrowed"] };
  const mode = (name, text, title) => {
    const made = button(text, title, () => {
      view.mode = name;
      if (pairs[name]) [view.left, view.right] = pairs[name];
      draw();
    });
    made.dataset.mode = name;
    return made;
  };
  const group = (label, ...children) => {
    const made = make("div", { className: "group", ariaLabel: label }, ...children);
    made.setAttribute("role", "group");
    return made;
  };
  const modes = [mode("slider", "Before and after", "Show plain up-sampling and the result with a slider"),
    mode("heat", "Borrowed", "Show where detail was borrowed"), mode("grid", "All", "Show all pictures")];
  const level = make("output", { className: "small" });
  const controls = make("div", { className: "controls" }, group("Pictures", ...modes),
    group("Zoom", button("−", "Zoom out", () => zoom(view.z / 2)), button("+", "Zoom in", () => zoom(view.z * 2)),
      button("1:1", "One picture pixel per screen pixel", () => zoom(natural())),
      button("Fit", "Show the whole picture", () => zoom(1))), level);
  const range = make("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50,
    ariaLabel: "Divider: visible part of the left picture, per cent" });
  range.addEventListener("input", () => { view.split = Number(range.value); draw(); });

  // One tab for each frame.
  const tabs = make("div", { className: "tabs", ariaLabel: "Frames worth looking at" });
  tabs.setAttribute("role", "tablist");
  for (const [index, exhibit] of exhibits.entries()) {
    const { section } = exhibit;
    const heading = section.querySelector("h2");
    const tab = make("button", { type: "button", id: `tab-${index}` },
      make("strong", { textContent: section.dataset.why }), make("span", { textContent: section.dataset.name }));
    tab.setAttribute("role", "tab");
    tab.addEventListener("click", () => show(index));
    section.id = `panel-${index}`;
    section.setAttribute("role", "tabpanel");
    section.setAttribute("aria-labelledby", tab.id);
    tab.setAttribute("aria-controls", section.id);
    heading.classList.add("unseen");
    tabs.append(tab);
  }
  tabs.addEventListener("keydown", (event) => {
    const now = exhibits.indexOf(shown);
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: exhibits.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    show((next + exhibits.length) % exhibits.length);
    tabs.children[exhibits.indexOf(shown)].focus();
  });
  shown.section.before(make("div", { className: "toolbar" }, tabs, controls));

  function show(index) {
    shown = exhibits[index];
    for (const [n, { section }] of exhibits.entries()) {
      section.hidden = n !== index;
      tabs.children[n].setAttribute("aria-selected", String(n === index));
      tabs.children[n].tabIndex = n === index ? 0 : -1;
    }
    shown.frame.append(sides.left, sides.right, range);
    const kinds = [...shown.figures.keys()];
    for (const select of Object.values(sides)) {
      select.replaceChildren(...kinds.map((kind) => make("option", { value: kind, textContent: kind })));
    }
    draw();
  }
  // The chosen picture, or the default one if the frame lacks it, for example without a reference.
  const side = (name) => (shown.figures.has(view[name]) ? view[name] : pairs.slider[name === "left" ? 0 : 1]);
  const box = () => shown.figures.get(side("left")).querySelector(".pane").getBoundingClientRect();
  const natural = () => {
    const image = shown.figures.get(side("left")).querySelector("img");
    return Math.max(1, image.naturalWidth / box().width / (window.devicePixelRatio || 1));
  };
  function zoom(z, at = { x: 0.5, y: 0.5 }) {
    z = limit(z, 1, 16);
    view.x = at.x - ((at.x - view.x) * z) / view.z;
    view.y = at.y - ((at.y - view.y) * z) / view.z;
    view.z = z;
    draw();
  }
  function draw() {
    view.x = limit(view.x, 1 - view.z, 0);
    view.y = limit(view.y, 1 - view.z, 0);
    const { stage, frame, figures } = shown;
    const slider = view.mode !== "grid";
    const [left, right] = [side("left"), side("right")];
    frame.classList.toggle("slider", slider);
    stage.classList.toggle("slider", slider);
    stage.classList.toggle("grid", !slider);
    stage.classList.toggle("zoomed", view.z > 1);
    stage.classList.toggle("deep", view.z >= 3);
    for (const [kind, figure] of figures) {
      figure.classList.toggle("left", slider && kind === left);
      figure.classList.toggle("right", slider && kind === right && kind !== left);
    }
    for (const [name, select] of Object.entries(sides)) {
      select.hidden = !slider;
      select.value = name === "left" ? left : right;
    }
    range.hidden = !slider;
    const pair = slider && Object.keys(pairs).find((name) => pairs[name][0] === left && pairs[name][1] === right);
    for (const made of modes) made.setAttribute("aria-pressed", String(made.dataset.mode === (slider ? pair : "grid")));
    stage.style.setProperty("--x", `${100 * view.x}%`);
    stage.style.setProperty("--y", `${100 * view.y}%`);
    stage.style.setProperty("--z", view.z);
    frame.style.setProperty("--split", `${view.split}%`);
    range.value = view.split;
    level.textContent = `zoom ${Number(view.z.toFixed(2))}×`;
  }

  const place = (event) => {
    const pane = event.target.closest?.(".pane")?.getBoundingClientRect() ?? box();
    return { x: (event.clientX - pane.left) / pane.width, y: (event.clientY - pane.top) / pane.height, pane };
  };
  // At zoom 1, a drag moves the divider. At other zooms, it moves the picture unless it starts near
  // the divider. Two fingers zoom.
  function listen(stage) {
    const fingers = new Map();
    let drag = null;
    let rest = [view.split, view.split]; // divider positions before the last two presses
    stage.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      rest = [rest[1], view.split];
      const at = place(event);
      fingers.set(event.pointerId, at);
      stage.setPointerCapture(event.pointerId);
      const near = Math.abs(at.x * 100 - view.split) * at.pane.width < 2400;
      drag = view.mode !== "grid" && (view.z === 1 || near) ? "divider" : "view";
      if (drag === "divider") { view.split = limit(100 * at.x, 0, 100); draw(); }
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
        view.split = limit(100 * now.x, 0, 100);
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
    stage.addEventListener("dblclick", (event) => {
      [view.split] = rest; // a double click must zoom without moving the divider
      zoom(view.z > 1 ? 1 : 4, place(event));
    });
    stage.addEventListener("wheel", (event) => {
      // without Ctrl the wheel scrolls the page
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(view.z * Math.exp(-event.deltaY / 200), place(event));
    }, { passive: false });
    stage.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      if (event.key === "+" || event.key === "=") zoom(view.z * 2);
      else if (event.key === "-") zoom(view.z / 2);
      else if (event.key === "0") zoom(1);
      else if (view.z > 1 && moves[event.key]) {
        view.x += 0.1 * moves[event.key][0];
        view.y += 0.1 * moves[event.key][1];
        draw();
      } else return;
      event.preventDefault();
    });
  }
  for (const { stage } of exhibits) {
    stage.classList.add("stage");
    stage.tabIndex = 0;
    stage.setAttribute("role", "group");
    stage.setAttribute("aria-label", "Pictures: arrows move, plus and minus zoom, 0 shows all");
    listen(stage);
  }
  show(0);
}
