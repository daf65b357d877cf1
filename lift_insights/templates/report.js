// Draws each figure when it comes near the view, in the colours of the reader's scheme. Nothing is fetched.
"use strict";
(() => {
  const read = id => JSON.parse(document.getElementById(id).textContent);
  const swap = new Map(Object.entries(read("colours"))), look = read("look");
  const scheme = matchMedia("(prefers-color-scheme: dark)"), touch = matchMedia("(pointer: coarse)");
  const plots = [...document.querySelectorAll(".plot")], drawn = new Set();
  let printing = false;

  const turned = v => {
    if (typeof v === "string") return swap.has(v) ? swap.get(v) : v;
    if (Array.isArray(v)) return v.map(turned);
    if (v && typeof v === "object") return Object.fromEntries(Object.entries(v).map(([k, w]) => [k, turned(w)]));
    return v;
  };

  const fitted = (layout, el) => {
    const margin = layout.margin || {};
    if (layout.title && layout.title.text) margin.t = Math.max(8, (margin.t || 72) - 36);  // the page has headings of its own
    delete layout.title; delete layout.width;
    layout.template = layout.template || look;
    layout.autosize = true;
    if (touch.matches) layout.dragmode = false;
    if (el.dataset.size === "panel") {
      layout.height = 176; layout.showlegend = false;
      layout.margin = {l: 40, r: 6, t: 8, b: 34};
      layout.xaxis = {...layout.xaxis, nticks: el.clientWidth < 260 ? 4 : 6, tickangle: 0};
    }
    if (el.clientWidth < 640) layout.annotations = (layout.annotations || []).filter(a => a.name !== "incident");  // no room for names
    return layout;
  };

  const draw = el => {
    const figure = JSON.parse(document.getElementById(el.id + "-data").textContent);
    figure.layout = fitted(figure.layout, el);
    const shown = scheme.matches && !printing ? turned(figure) : figure;
    drawn.add(el);
    return Plotly.react(el, shown.data, shown.layout, {displayModeBar: false, responsive: true, scrollZoom: false});
  };

  const queue = [];
  const step = () => { const el = queue.shift(); if (el && !drawn.has(el)) draw(el); if (queue.length) setTimeout(step); };  // one at a time: the page stays quick
  const near = new IntersectionObserver(seen => {
    for (const one of seen) if (one.isIntersecting) { near.unobserve(one.target); if (queue.push(one.target) === 1) setTimeout(step); }
  }, {rootMargin: "500px 0px"});
  plots.forEach(el => near.observe(el));

  scheme.addEventListener("change", () => [...drawn].forEach(draw));
  let closed = [];
  addEventListener("beforeprint", () => {
    printing = true;
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach(d => { d.open = true; });
    document.body.className = "printing";  // as narrow as A4: figures are drawn before the browser lays out its pages
    plots.forEach(el => { el.style.zoom = Math.min(1, el.parentElement.clientWidth / (parseInt(el.style.minWidth) || 1)); draw(el); });
  });
  addEventListener("afterprint", () => { printing = false; document.body.className = ""; plots.forEach(el => { el.style.zoom = ""; }); closed.forEach(d => { d.open = false; }); [...drawn].forEach(draw); });

  const links = new Map([...document.querySelectorAll("nav a")].map(a => [a.hash.slice(1), a]));
  const here = new IntersectionObserver(seen => {
    for (const one of seen) if (one.isIntersecting) {
      links.forEach(a => a.removeAttribute("aria-current"));
      links.get(one.target.id)?.setAttribute("aria-current", "true");
    }
  }, {rootMargin: "-20% 0px -70% 0px"});
  document.querySelectorAll("main > section").forEach(s => here.observe(s));
})();
