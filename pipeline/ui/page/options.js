// Form controls for the options of a run, built from the program's table of options.
import { element } from "./words.js";

const control = (option) => {
  const id = `option-${option.name}`;
  const about = { id, name: option.name, "aria-describedby": `${id}-help` };
  if (option.kind === "flag") return element("input", { ...about, type: "checkbox" });
  if (option.choices.length) {
    return element("select", about, element("option", { value: "" }, "default"),
      ...option.choices.map((word) => element("option", { value: word }, word)));
  }
  if (option.kind === "number") {
    return element("input", { ...about, type: "number", step: option.whole ? "1" : "any", placeholder: "default" });
  }
  return element("input", { ...about, type: "text", placeholder: /[^A-Z]/.test(option.hint) ? option.hint : "default", autocomplete: "off", spellcheck: "false" });
};

const draw = (option) => {
  const made = control(option);
  const help = element("p", { class: "small", id: `${made.id}-help` }, option.help);
  const label = element("label", { for: made.id, title: option.flag });
  if (option.kind === "flag") {
    label.append(made, option.label);
    return element("div", { class: "field flag" }, label, help);
  }
  label.append(option.label);
  return element("div", { class: "field" }, label, made, help);
};

export const build = (options, common, others) => {
  common.replaceChildren(...options.filter((o) => o.common).map(draw));
  const sections = [...new Set(options.filter((o) => !o.common).map((o) => o.section))];
  others.replaceChildren(...sections.flatMap((section) => [
    element("h3", {}, section === "Options" ? "General" : section),
    element("div", { class: "grid" }, ...options.filter((o) => !o.common && o.section === section).map(draw)),
  ]));
};

export const collect = (form) => {
  const found = {};
  for (const each of form.elements) {
    if (!each.name) continue;
    if (each.type === "checkbox") { if (each.checked) found[each.name] = "true"; } else if (each.value.trim()) found[each.name] = each.value.trim();
  }
  return found;
};

export const show = (form, values) => {
  for (const each of form.elements) {
    if (!each.name) continue;
    if (each.type === "checkbox") each.checked = values[each.name] === "true";
    else each.value = values[each.name] || "";
  }
};
