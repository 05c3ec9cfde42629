"use strict";
(() => {
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const hidden = new Set();
  // Named one by one: since plotly.js 4 its own choice has a button that uploads the chart.
  const STEPS = ["zoomIn2d", "zoomOut2d", "resetScale2d"];
  // A finger that is drawn over a figure scrolls the page; so it zooms by the buttons alone, which are always there.
  const BUTTONS = coarse.matches ? [STEPS] : [["toImage"], ["zoom2d", "pan2d", ...STEPS]];
  const figures = [...document.querySelectorAll("figure[data-plot]")].map((figure) => ({
    place: figure.querySelector(".plot"),
    text: document.getElementById(figure.dataset.plot).textContent,
  }));

  // A figure names the page's colours; plotly wants the values that they have in this theme.
  function resolved(value, style) {
    if (typeof value === "string") {
      const named = /^var\((--[\w-]+)\)$/.exec(value);
      return named ? style.getPropertyValue(named[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((own) => resolved(own, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, own]) => [key, resolved(own, style)]));
    }
    return value;
  }

  function themed(layout, style) {
    const axis = { gridcolor: "var(--grid)", linecolor: "var(--rule)", zerolinecolor: "var(--grid)", automargin: true,
      spikecolor: "var(--muted)", spikethickness: -1, spikedash: "solid" };
    const base = {
      autosize: true, showlegend: false, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--muted)", activecolor: "var(--accent)" },
      dragmode: coarse.matches ? false : "zoom",
      uirevision: "kept", // a figure stays zoomed when a run is hidden or the theme changes
      font: { family: "var(--sans)", size: 13, color: "var(--muted)" },
      hoverlabel: { bgcolor: "var(--raised)", bordercolor: "var(--rule)", namelength: -1,
        font: { family: "var(--sans)", size: 13, color: "var(--ink)" } },
    };
    const axes = Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key));
    const own = Object.fromEntries(axes.map((key) => {
      const title = { ...layout[key].title, font: { size: 13 }, standoff: 8 };
      return [key, { ...axis, ...(key[0] === "y" ? { showspikes: false } : {}), ...layout[key], title }];
    }));
    const margin = { l: 8, r: 8, t: coarse.matches ? 40 : 8, b: 8, ...layout.margin };
    return resolved({ ...base, ...layout, ...own, margin }, style);
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    for (const { place, text } of figures) {
      const figure = JSON.parse(text);
      const traces = figure.data.map((trace) => ({ ...trace, visible: !hidden.has(trace.meta.run) }));
      Plotly.react(place, resolved(traces, style), themed(figure.layout, style), {
        responsive: true, displaylogo: false, plotlyServerURL: "", modeBarButtons: BUTTONS,
        displayModeBar: coarse.matches ? true : "hover",
      });
    }
  }

  for (const box of document.querySelectorAll("input[data-run]")) {
    box.addEventListener("change", () => {
      const run = Number(box.dataset.run);
      if (box.checked) hidden.delete(run); else hidden.add(run);
      draw();
    });
  }
  for (const slider of document.querySelectorAll("input[data-updates]")) {
    const updates = slider.dataset.updates.split(" ").map(Number);
    const gallery = slider.closest(".gallery");
    const show = () => {
      const said = updates[slider.value].toLocaleString("en-GB");
      gallery.style.setProperty("--sheet", `var(--frame-${slider.value})`);
      gallery.querySelector("output").textContent = said;
      slider.setAttribute("aria-valuetext", `after ${said} updates`);
    };
    slider.addEventListener("input", show);
    show();
  }
  const nav = document.querySelector("nav");
  for (const section of document.querySelectorAll("main > section")) {
    const link = nav.appendChild(document.createElement("a"));
    link.href = `#${section.id}`;
    link.textContent = section.querySelector("h2").textContent;
  }
  scheme.addEventListener("change", draw);
  draw();
})();
