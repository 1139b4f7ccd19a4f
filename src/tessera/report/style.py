"""CSS and JavaScript of all pages, without libraries."""

STYLE = """\
:root {
  color-scheme: light dark;
  --paper: #fdfdfc; --panel: #f3f3f0; --ink: #1c1c1a; --soft: #5a5a55; --line: #cfcfc8;
  --accent: #0b5cad; --good: #146c2e; --bad: #a3201a; --mark: #e3f1e6;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161719; --panel: #212326; --ink: #ececea; --soft: #aeb0b3; --line: #43464b;
    --accent: #7db8f5; --good: #7fd197; --bad: #ff9d94; --mark: #1d3a26;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 80rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; overflow-wrap: anywhere; }
h3 { font-size: 1.12rem; }
h3, h4 { margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
p, li, dd { overflow-wrap: anywhere; max-width: 48rem; }
footer, .soft { color: var(--soft); font-size: .875rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .6rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dd { margin: 0 0 .4rem 1rem; } }
.scroll { position: relative; overflow-x: auto; max-width: 100%; margin: .4rem 0; }
.scroll.more { mask-image: linear-gradient(to right, #000 calc(100% - 3rem), #0003); }
.scroll.wide thead th:first-child, .scroll.wide tbody th {
  position: sticky; left: 0; z-index: 1; background: var(--paper); box-shadow: 1px 0 var(--line);
}
.scroll.wide thead th:first-child { background: var(--panel); }
.scroll-hint { margin: .4rem 0 0; font-size: .875rem; color: var(--accent); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
p.soft { margin: .4rem 0 0; }
a { color: var(--accent); }
th, td { padding: .3rem .55rem; border-bottom: 1px solid var(--line); text-align: end; vertical-align: baseline; }
th { font-weight: 600; }
tbody th { font-weight: 500; max-width: 22rem; overflow-wrap: anywhere; min-width: 9.5rem; }
@media (max-width: 40rem) { tbody th { min-width: 7rem; max-width: 9.5rem; } }
th:first-child, .words { text-align: start; }
thead th { background: var(--panel); white-space: nowrap; }
td { white-space: nowrap; }
td.words { white-space: normal; min-width: 9rem; }
tbody tr:hover { background: var(--panel); }
td.best { background: var(--mark); font-weight: 700; }
.interval { white-space: nowrap; color: var(--soft); font-weight: 400; font-size: .875em; }
td > .interval { display: block; }
td.better { color: var(--good); font-weight: 600; }
td.worse, .problems li::marker { color: var(--bad); font-weight: 600; }
th button {
  all: unset; cursor: pointer; font: inherit; display: inline-block; min-height: 1.75rem; padding: 0 .1rem;
}
th button { text-decoration: underline dotted var(--soft); text-underline-offset: .25em; }
th[aria-sort=ascending] button, th[aria-sort=descending] button { text-decoration: underline 2px var(--accent); }
details { margin: .4rem 0; }
summary { cursor: pointer; min-height: 2rem; }
summary:focus-visible { outline: 3px solid var(--accent); outline-offset: 1px; }
button:focus-visible, input:focus-visible, .scroll:focus-visible, th button:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 1px;
}
.hidden {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}
.crops { display: flex; flex-wrap: wrap; gap: .8rem; margin: .5rem 0 1rem; }
.crops figure { margin: 0; break-inside: avoid; max-width: 100%; }
.crops img { display: block; max-width: 100%; height: auto; image-rendering: pixelated; background: var(--panel); }
figcaption { font-size: .875rem; line-height: 1.35; padding-top: .25rem; overflow-wrap: anywhere; }
.plot { width: 100%; min-width: 32rem; max-width: 44rem; height: auto; display: block; }
.plot text { fill: var(--ink); font-size: 13px; }
.plot .soft { fill: var(--soft); font-size: 12px; }
.plot .name { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
.plot .axis, .plot .leader { stroke: var(--soft); stroke-width: 1; fill: none; }
.plot .grid { stroke: var(--line); stroke-width: 1; }
.plot .point { stroke: var(--accent); stroke-width: 2; fill: var(--accent); }
.plot .baseline { fill: var(--paper); stroke: var(--ink); }
.plot .toward { fill: var(--good); stroke: var(--good); stroke-width: 2; }
.plot text.toward { stroke: none; font-weight: 600; }
.compare .choose:nth-child(2) { margin-bottom: .6rem; }
.slider { position: relative; overflow: hidden; background: var(--panel); touch-action: pan-y; cursor: ew-resize; }
.slider img {
  position: absolute; inset: 0; width: 100%; height: 100%; visibility: hidden; user-select: none;
  -webkit-user-drag: none;
}
.slider.pixels img { image-rendering: pixelated; }
.slider img.left { visibility: visible; clip-path: inset(0 calc(100% - var(--at, 50%)) 0 0); }
.slider img.right { visibility: visible; clip-path: inset(0 0 0 var(--at, 50%)); }
.slider .edge {
  position: absolute; top: 0; bottom: 0; left: var(--at, 50%); width: 2px; margin-left: -1px;
  background: #fff; box-shadow: 0 0 0 1px #000; pointer-events: none;
}
.slider .region { position: absolute; outline: 1px dashed #fff; box-shadow: 0 0 0 1px #000a; pointer-events: none; }
.slider .tag {
  position: absolute; top: .3rem; max-width: 46%; padding: .1rem .45rem; font-size: .8rem; color: #fff;
  background: #000b; border-radius: .2rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
  pointer-events: none;
}
.slider .tag.left { left: .3rem; }
.slider .tag.right { right: .3rem; }
.compare input[type=range] { width: 100%; height: 2rem; margin: .2rem 0; accent-color: var(--accent); }
.choose { display: flex; flex-wrap: wrap; gap: .3rem .4rem; align-items: center; margin: .2rem 0; }
.choose > span { min-width: 3.2rem; color: var(--soft); font-size: .875rem; }
.choose button {
  font: inherit; font-size: .875rem; min-height: 2rem; padding: .1rem .7rem; border-radius: .3rem; cursor: pointer;
  border: 1px solid var(--line); background: var(--panel); color: var(--ink); max-width: 100%; overflow-wrap: anywhere;
}
.choose button[aria-pressed=true] { background: var(--accent); border-color: var(--accent); color: var(--paper); }
.choose button[aria-pressed=true]::before { content: "\\2713\\a0"; }
@media print {
  :root {
    color-scheme: light; --paper: #fff; --panel: #f3f3f0; --ink: #000; --soft: #444; --line: #bbb;
    --accent: #0b5cad; --good: #146c2e; --bad: #a3201a; --mark: #e3f1e6;
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll { overflow: visible; }
  .plot { min-width: 0; }
  td, thead th { white-space: normal; }
  th, td { padding: .15rem .35rem; }
  .scroll-hint, .choose, .compare input { display: none !important; }
  .scroll.more { mask-image: none; }
  th button { text-decoration: none; }
  tr, figure, .plot { break-inside: avoid; }
  h2, h3, h4, p.soft { break-after: avoid; }
  th button { display: contents; }
  .crops.row img { width: 2.9cm !important; }
  .crops.row figcaption { max-width: 2.9cm !important; }
  thead { display: table-header-group; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

SORT = """\
"use strict";
// A table wider than its place fades out at the right and says that it scrolls.
for (const box of document.querySelectorAll(".scroll")) {
  const hint = document.createElement("p");
  hint.className = "scroll-hint";
  hint.textContent = `Scroll sideways for ${box.querySelector("table") ? "more columns" : "the rest"} \\u2192`;
  hint.hidden = true;
  box.before(hint);
  const check = () => {
    const rest = box.scrollWidth - box.clientWidth;
    box.classList.toggle("wide", rest > 1);
    box.classList.toggle("more", rest - box.scrollLeft > 1);
    hint.hidden = rest <= 1;
  };
  box.addEventListener("scroll", check, { passive: true });
  new ResizeObserver(check).observe(box);
}
addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });
// A click on a column head sorts by it, a second click in reverse. Numbers sort as numbers, missing values last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const words = new Intl.Collator("en", { numeric: true });
  const number = text => text === "inf" ? Infinity : text === "-inf" ? -Infinity : text === "" ? NaN : Number(text);
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? cell.dataset.value : cell.textContent.trim();
  };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const rows = [...table.tBodies[0].rows].map(row => ({ row, text: value(row, column) }));
    const isMissing = each => each.text === "" || each.text === "nan";
    const numeric = rows.every(each => isMissing(each) || !Number.isNaN(number(each.text)));
    rows.sort((a, b) => {
      if (isMissing(a) || isMissing(b)) return isMissing(a) - isMissing(b);
      const x = number(a.text), y = number(b.text);
      const order = !numeric ? words.compare(a.text, b.text) : x < y ? -1 : x > y ? 1 : 0;
      return down ? -order : order;
    });
    heads.forEach(each => each.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...rows.map(each => each.row));
  }));
}
"""

SLIDE = """\
for (const part of document.querySelectorAll(".compare")) {
  const slider = part.querySelector(".slider"), range = part.querySelector("input");
  const pictures = [...slider.querySelectorAll("img")];
  const chosen = { left: 0, right: Math.min(1, pictures.length - 1) };
  const show = () => {
    for (const side of ["left", "right"]) {
      pictures.forEach((each, index) => each.classList.toggle(side, index === chosen[side]));
      part.querySelectorAll(`.choose.${side} button`).forEach((button, index) =>
        button.setAttribute("aria-pressed", String(index === chosen[side])));
      slider.querySelector(`.tag.${side}`).textContent = pictures[chosen[side]].alt;
    }
    range.setAttribute("aria-valuetext",
      `${range.value} % ${pictures[chosen.left].alt}, the rest ${pictures[chosen.right].alt}`);
  };
  const move = () => { slider.style.setProperty("--at", `${range.value}%`); show(); };
  range.addEventListener("input", move);
  for (const [side, other] of [["left", "right"], ["right", "left"]]) {
    part.querySelectorAll(`.choose.${side} button`).forEach((button, index) => button.addEventListener("click", () => {
      if (chosen[other] === index) chosen[other] = chosen[side];
      chosen[side] = index;
      show();
    }));
  }
  const drag = event => {
    if (event.type === "pointermove" && !slider.hasPointerCapture(event.pointerId)) return;
    if (event.type === "pointerdown") slider.setPointerCapture(event.pointerId);
    const box = slider.getBoundingClientRect();
    range.value = String(Math.max(0, Math.min(100, 100 * (event.clientX - box.left) / box.width)));
    move();
  };
  slider.addEventListener("pointerdown", drag);
  slider.addEventListener("pointermove", drag);
  move();
}
"""
