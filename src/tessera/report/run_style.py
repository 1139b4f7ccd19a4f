"""CSS and JavaScript of the training report, in addition to those of all pages."""

CURVE_STYLE = """\
:root { --second: #a8480a; --third: #7a2e8e; --fourth: #14692f; --fifth: #a11650; --sixth: #5a5a55; }
@media (prefers-color-scheme: dark) {
  :root { --second: #f2a65e; --third: #d79be6; --fourth: #7fd197; --fifth: #ff8fb8; --sixth: #b9bbbe; }
}
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1rem 1.6rem; }
.curve-box { margin: 0; min-width: 0; break-inside: avoid; }
.curve-box h3 { margin: .6rem 0 .1rem; }
.curve-box output { display: block; font-size: .875rem; min-height: 1.35em; font-variant-numeric: tabular-nums; }
.curve-box figcaption { color: var(--soft); padding-top: 0; }
.curve { touch-action: pan-y; }
.curve:focus-visible { outline: 3px solid var(--accent); outline-offset: 1px; }
.curve svg { width: 100%; height: auto; display: block; }
.curve text { fill: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
@media (max-width: 40rem) { .curve text { font-size: 18px; } }
.curve .axis { stroke: var(--soft); fill: none; }
.curve .grid { stroke: var(--line); }
.curve .level { stroke: var(--soft); stroke-dasharray: 2 4; }
.curve .event { stroke: var(--bad); stroke-dasharray: 5 4; opacity: .7; }
.curve .cursor { stroke: var(--ink); visibility: hidden; }
.curve .gap { stroke: var(--bad); stroke-width: 1.5; }
.curve .mean { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.curve .band { stroke-width: .6; opacity: .32; }
.line0 { --line-color: var(--accent); }
.line1 { --line-color: var(--second); --dashes: 7 3; }
.line2 { --line-color: var(--third); --dashes: 1.5 4; }
.line3 { --line-color: var(--fourth); --dashes: 10 3 1.5 3; }
.line4 { --line-color: var(--fifth); --dashes: 3 3; }
.line5 { --line-color: var(--sixth); --dashes: 12 5; }
.curve path[class*=line] { stroke: var(--line-color); }
.curve .band, .curve .dot { fill: var(--line-color); stroke: var(--line-color); }
.curve .mean { stroke-dasharray: var(--dashes); }
.curves + p.soft { margin-top: 1rem; }
.curves ~ .scroll tbody th { min-width: 11rem; }
.curves ~ .scroll td.words { min-width: 4rem; }
.keys { margin: 0; font-size: .875rem; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; }
.key { display: inline-flex; align-items: center; gap: .4rem; }
.key svg { width: 2.4rem; height: .7rem; flex: none; }
.key path { fill: none; stroke: var(--line-color); stroke-width: 2.4; stroke-dasharray: var(--dashes); }
@media print { :root { --second: #a8480a; --third: #7a2e8e; --fourth: #14692f; --fifth: #a11650; --sixth: #5a5a55; } }
@media print { .curve .cursor { display: none; } }
"""

CURVE_SCRIPT = """\
// Show the value under the pointer, or step through the values with the arrow keys.
for (const curve of document.querySelectorAll(".curve")) {
  const { left, across, last } = Object.fromEntries(
    ["left", "across", "last"].map(name => [name, Number(curve.dataset[name])]));
  const series = JSON.parse(curve.dataset.points), names = JSON.parse(curve.dataset.names);
  const svg = curve.querySelector("svg"), cursor = curve.querySelector(".cursor");
  const output = curve.parentElement.querySelector("output");
  const steps = [...new Set(series.flatMap(points => points.map(each => each[0])))].sort((a, b) => a - b);
  const shown = value => Number(value.toPrecision(4)).toString().replace("-", "\u2212");
  const nearest = (list, step) => {
    let low = 0, high = list.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle] < step) low = middle + 1; else high = middle;
    }
    return low && step - list[low - 1] <= list[low] - step ? low - 1 : low;
  };
  const columns = series.map(points => points.map(each => each[0]));
  let place = steps.length - 1;
  const show = at => {
    place = Math.max(0, Math.min(steps.length - 1, at));
    const words = series.flatMap((points, index) => {
      if (!points.length) return [];
      const [, mean, least, greatest] = points[nearest(columns[index], steps[place])];
      const range = least === undefined ? "" : ` (${shown(least)} to ${shown(greatest)})`;
      return [`${names[index]} ${mean === null ? "is not finite" : shown(mean)}${range}`];
    });
    const sentence = `Step ${steps[place].toLocaleString("en")}: ${words.join(", ")}`;
    output.textContent = sentence;
    cursor.setAttribute("transform", `translate(${left + steps[place] / last * across} 0)`);
    cursor.style.visibility = "visible";
    curve.setAttribute("aria-valuenow", String(place));
    curve.setAttribute("aria-valuetext", sentence);
  };
  const quiet = () => { output.textContent = "\u00a0"; cursor.style.visibility = "hidden"; };
  curve.tabIndex = 0;
  curve.setAttribute("role", "slider");
  curve.setAttribute("aria-valuemin", "0");
  curve.setAttribute("aria-valuemax", String(steps.length - 1));
  curve.setAttribute("aria-valuenow", String(place));
  curve.addEventListener("focus", () => { if (curve.matches(":focus-visible")) show(place); });
  curve.addEventListener("blur", quiet);
  curve.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    show(nearest(steps, (x - left) / across * last));
  });
  curve.addEventListener("pointerleave", () => { if (document.activeElement !== curve) quiet(); });
  curve.addEventListener("keydown", event => {
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10,
      Home: -steps.length, End: steps.length };
    if (event.key in moves) { show(place + moves[event.key]); event.preventDefault(); }
  });
}
"""

SAMPLES_STYLE = """\
.over-time .stack { position: relative; }
.over-time .stack img { position: absolute; inset: 0; width: 100%; height: 100%; }
.over-time .stack img[hidden] { display: none; }
.over-time .stack img.earlier { inset: auto; }
.over-time input { display: block; height: 2rem; margin: .2rem 0; accent-color: var(--accent); }
.over-time output { font-weight: 600; font-variant-numeric: tabular-nums; }
.columns { display: grid; grid-template-columns: repeat(4, 1fr); font-size: .875rem; color: var(--soft); }
@media print { .over-time input { display: none; } }
"""

SAMPLES_SCRIPT = """\
for (const part of document.querySelectorAll(".over-time")) {
  const range = part.querySelector("input"), output = part.querySelector("output");
  if (!range) continue;
  const steps = range.dataset.steps.split(",").map(Number), earlier = [...part.querySelectorAll("img.earlier")];
  const show = () => {
    const chosen = Number(range.value), sentence = `Step ${steps[chosen].toLocaleString("en")}`;
    earlier.forEach((each, index) => { each.hidden = index !== chosen; });
    output.textContent = sentence;
    range.setAttribute("aria-valuetext", sentence);
  };
  range.addEventListener("input", show);
  show();
}
"""
