"use strict";
// Replaces the static charts, which browsers without JavaScript show, with uPlot charts. A line above
// each chart shows the values of the frame under the pointer, or of the one that the arrow keys
// choose; the cursors of all charts move together.
for (const plot of document.querySelectorAll(".plot")) {
  const data = JSON.parse(plot.querySelector("script").textContent);
  const reading = plot.closest(".chart").querySelector(".reading");
  const bright = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(plot).getPropertyValue(`--${name}`).trim();
  const round = (value) => (value === null ? "unknown" : value.toFixed(data.digits));
  let chart = null;

  const showReading = (index) => {
    if (index === null || index === undefined) { reading.textContent = ""; return; }
    const figures = data.curves.map((curve) => `${curve.name} ${round(curve.values[index])}`);
    reading.textContent = `Frame ${data.frames[index]}, ${data.times[index].toFixed(2)} s: ${figures.join(", ")}${data.unit ? ` ${data.unit}` : ""}`;
  };
  const drawVertical = (ink, at, top, bottom, width, stroke, dash) => {
    ink.save();
    ink.beginPath();
    Object.assign(ink, { lineWidth: width * devicePixelRatio, strokeStyle: stroke });
    ink.setLineDash(dash.map((part) => part * devicePixelRatio));
    ink.moveTo(at, top);
    ink.lineTo(at, bottom);
    ink.stroke();
    ink.restore();
  };
  const markings = (u) => {
    const { top, height } = u.bbox;
    for (const at of data.switches) drawVertical(u.ctx, u.valToPos(at, "x", true), top, top + height, 1, colour("switch"), [2, 3]);
    for (const at of data.marks) drawVertical(u.ctx, u.valToPos(at, "x", true), top + height - 10 * devicePixelRatio, top + height, 4, colour("mark"), []);
  };
  const options = () => {
    const axis = {
      stroke: colour("soft"), font: `12px ${getComputedStyle(document.body).fontFamily}`,
      grid: { stroke: colour("line"), width: 1 }, ticks: { show: false },
    };
    return {
      width: plot.clientWidth, height: plot.clientWidth < 500 ? 150 : 190,
      legend: { show: false },
      cursor: { sync: { key: "report" }, drag: { x: false, y: false }, y: false, points: { size: 8 } },
      scales: { x: { time: false } },
      axes: [
        { ...axis, grid: { show: false }, values: (u, ticks) => ticks.map((tick) => `${tick} s`), space: 60, size: 30 },
        { ...axis, size: 52 },
      ],
      series: [{}, ...data.curves.map((curve) => ({
        label: curve.name, stroke: colour(curve.style), width: 2, spanGaps: false,
        dash: curve.style === "plain" ? [6, 4] : undefined, points: { show: data.times.length === 1 },
      }))],
      hooks: { drawAxes: [markings], setCursor: [(u) => showReading(u.cursor.idx)] },
    };
  };
  const build = () => {
    chart?.destroy();
    chart = new uPlot(options(), [data.times, ...data.curves.map((curve) => curve.values)], plot);
  };
  plot.classList.add("live");
  build();
  bright.addEventListener("change", build);
  let width = plot.clientWidth;
  new ResizeObserver(() => {
    if (plot.clientWidth && plot.clientWidth !== width) { width = plot.clientWidth; build(); }
  }).observe(plot);

  plot.tabIndex = 0;
  // All charts show the same frame, so only the one with the focus is announced.
  plot.addEventListener("focus", () => { reading.ariaLive = "polite"; });
  plot.addEventListener("blur", () => { reading.ariaLive = "off"; });
  plot.addEventListener("keydown", (event) => {
    const last = data.times.length - 1;
    const now = chart.cursor.idx ?? -1;
    const next = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const index = Math.min(last, Math.max(0, next));
    chart.setCursor({ left: chart.valToPos(data.times[index], "x"), top: 10 }, true, true);
  });
}
