// Functions that format values as short text, and functions that create elements.

export const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "class") made.className = value;
    else if (key === "style") for (const [k, v] of Object.entries(value)) made.style.setProperty(k, v);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
};

export const span = (seconds) => {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
};

export const clock = (seconds) => {
  const sign = seconds < 0 ? "−" : "";
  const all = Math.abs(seconds);
  const minutes = Math.floor(all / 60);
  return `${sign}${minutes}:${(all % 60).toFixed(2).padStart(5, "0")}`;
};

export const bytes = (count) => {
  if (count >= 1e9) return `${(count / 1e9).toFixed(1)} GB`;
  if (count >= 1e6) return `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`;
  return `${Math.max(1, Math.round(count / 1e3))} kB`;
};

export const plural = (count, word) => `${count.toLocaleString("en")} ${word.replace(/s$/, count === 1 ? "" : "s")}`;

export const fill = (list, pairs) => {
  const wanted = JSON.stringify(pairs);
  if (list.dataset.shown === wanted) return;
  list.dataset.shown = wanted;
  list.replaceChildren(...pairs.map(([name, value]) => {
    const group = element("div", {}, element("dt", {}, name), element("dd", {}, value));
    return group;
  }));
};
