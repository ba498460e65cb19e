// Draw the plan: a strip of frames, a bar that shows where each reference is used, and the references.
import { bytes, clock, element, fill, plural, span } from "./words.js";

const MANY = 60; // number of segments above which a strip of them would be unreadable
const at = (id) => document.getElementById(id);

const kindOf = (entry) => {
  if (entry.why === "given") return "given";
  return ["cut", "too far", "unlike", "dark"].includes(entry.why) ? "none" : "served";
};

const drawStretch = (each, unit) => {
  const served = each.reference === null ? "plain up-sampling" : `reference at ${clock(each.reference)}`;
  return element("span", {
    class: kindOf(each),
    style: { flex: `${each.last - each.first + 1} 1 0`, "--near": each.nearness },
    title: `${unit} ${each.first} to ${each.last}: ${served}${each.farthest ? `, at most ${each.farthest.toFixed(2)} s away` : ""}`,
  });
};

const drawViews = (cells) => {
  const rows = Math.max(...cells.map((c) => c.row)) + 1;
  const cols = Math.max(...cells.map((c) => c.col)) + 1;
  const most = Math.max(1, ...cells.map((c) => c.steps || 0));
  const grid = element("div", { class: "views", role: "img", "aria-label": `Grid of ${rows} by ${cols} views; the stronger the colour, the nearer the reference`, style: { "grid-template-columns": `repeat(${cols}, auto)` } });
  for (const cell of cells) {
    grid.append(element("span", {
      class: cell.steps === null && cell.why !== "given" ? "none" : kindOf(cell),
      style: { "grid-row": cell.row + 1, "grid-column": cell.col + 1, "--near": 1 - (cell.steps || 0) / most },
      title: `view ${cell.row}, ${cell.col}: ${cell.steps === null ? cell.why : `${cell.steps.toFixed(1)} steps from its reference`}`,
    }));
  }
  return grid;
};

const drawReferences = (plan, address) => {
  if (!plan.reference_pictures.length) return [];
  const total = plan.reference_count;
  const shown = plan.reference_pictures.length;
  const heading = `${plural(total, "references")}${shown < total ? `, ${shown} of them shown` : ""}`;
  return [element("h3", {}, heading), element("ul", { class: "refs" }, ...plan.reference_pictures.map((each, index) => {
    const where = each.seconds === null ? `number ${index + 1}` : clock(each.seconds);
    return element("li", {},
      element("img", { src: `${address}/${each.name}`, alt: `Reference ${where}`, loading: "lazy" }),
      element("span", {}, where), element("span", {}, `used for ${plural(each.frames, plan.kind)}`));
  }))];
};

export const draw = (plan, address) => {
  const [width, height] = plan.size;
  const [wide, high] = plan.output_size;
  at("plan-size").textContent = `${width}×${height} → ${wide}×${high}`;
  const share = plan.frames ? Math.round(100 * plan.served / plan.frames) : 0;
  const time = plan.seconds !== null ? `about ${span(plan.seconds)}` : plan.engine === "bicubic" ? "short, because no neural network is used" : "not known yet";
  fill(at("plan-facts"), [
    [plan.kind === "views" ? "Views with detail" : "Frames with detail", `${plan.served.toLocaleString("en")} of ${plan.frames.toLocaleString("en")} (${share} %)`],
    ["Enlargement", plan.enlargement.replace("x", "×")],
    ["Time", time],
    ["Disk space needed", `${bytes(plan.disk_bytes)} of ${bytes(plan.free_bytes)} free`],
  ]);

  at("film").replaceChildren(...plan.frame_pictures.map((each) => element("img", { src: `${address}/${each.name}`, alt: `${plan.kind === "views" ? "View" : "Frame"} ${each.frame}`, title: `${plan.kind === "views" ? "view" : "frame"} ${each.frame}` })));
  const { stretches, cells } = plan;
  const spans = at("spans");
  spans.hidden = !stretches.length;
  spans.setAttribute("aria-label", `Timeline: ${plural(stretches.length + plan.hidden_stretches, "parts")}, each with its own reference or none; the list below counts their frames`);
  spans.replaceChildren(...stretches.map((each) => drawStretch(each, "frames")));
  const pieces = at("pieces");
  pieces.hidden = plan.segment_count > MANY || !stretches.length;
  pieces.replaceChildren(...plan.segments.map((each) => element("span", { style: { flex: `${each.frames} 1 0` } })));
  at("ends").replaceChildren(...(stretches.length ? [
    element("span", {}, clock(stretches[0].begin)),
    element("span", {}, `saved in ${plural(plan.segment_count, "pieces")}`),
    element("span", {}, clock(stretches[stretches.length - 1].end)),
  ] : []));

  const items = plan.counts.map((each) => element("li", {}, element("span", { class: `key ${kindOf(each)}` }),
    element("span", {}, element("strong", {}, plural(each.frames, plan.kind)), ` ${each.meaning}`)));
  if (plan.several) items.push(element("li", {}, element("span", { class: "key more" }), element("span", {}, element("strong", {}, plural(plan.several, plan.kind)), " of these borrowing from several references at once")));
  at("counts").replaceChildren(...items);
  const extra = cells.length ? [drawViews(cells)] : [];
  at("references").replaceChildren(...extra, ...drawReferences(plan, address));
  at("plan-notes").replaceChildren(...plan.notes.map((note) => element("li", {}, note)));
  at("notes-title").hidden = !plan.notes.length;
};
