// The judge's bars, the film strip and the grid.
import {element, find, signed} from "./elements.js";

const SHOWN = 7;  // bars, until all are asked for
const NOTICED = 0.03;  // a share of the range
let all = false;

// numbers: [{name, unit, before, now}], shares of each number's range.
export function showNumbers(numbers) {
  const button = find("all-bars");
  find("bars").tBodies[0].replaceChildren(...(all ? numbers : numbers.slice(0, SHOWN)).map(bar));
  button.hidden = numbers.length <= SHOWN;
  button.textContent = all ? "Show fewer" : `Show all ${numbers.length}`;
  button.onclick = () => {
    all = !all;
    showNumbers(numbers);
  };
}

function bar({name, before, now}) {
  const clipped = [before, now].map((share) => 100 * Math.min(Math.max(share, 0), 1));
  const track = element("div", {className: "track"});
  const part = element("div", {className: now < before ? "change falling" : "change"});
  part.style.left = `${Math.min(...clipped)}%`;
  part.style.width = `${Math.abs(clipped[1] - clipped[0])}%`;
  const marks = [["was", clipped[0]], ["is", clipped[1]]].map(([className, place]) => {
    const mark = element("div", {className});
    mark.style.left = `${place}%`;
    return mark;
  });
  track.append(part, ...marks);
  const words = element("span", {className: "unseen"}, `${before.toFixed(2)} before, ${now.toFixed(2)} now`);
  const change = now - before;
  return element("tr", {className: Math.abs(change) < NOTICED ? "same" : ""},
                 element("th", {scope: "row"}, name.replaceAll("_", " ")), element("td", {}, track, words),
                 element("td", {className: "number"}, signed(change)));
}

// cells: [{shifts, picture}]; chosen: called with the shifts of the one that is clicked.
export function showStrip({slider, cells}, title, shift, chosen) {
  const nearest = cells.reduce((best, cell) => (far(cell) < far(best) ? cell : best));
  function far(cell) {
    return Math.abs(cell.shifts[slider] - shift);
  }
  find("strip-cells").replaceChildren(...cells.map((cell) => {
    const made = cellOf(cell, `${title}: ${signed(cell.shifts[slider])}`, chosen);
    made.append(element("span", {}, signed(cell.shifts[slider])));
    if (cell === nearest) made.setAttribute("aria-current", "true");
    return made;
  }));
}

export function showGrid({across, down, rows}, chosen) {
  const cells = find("grid-cells");
  cells.style.setProperty("--columns", rows[0].length);
  cells.replaceChildren(...rows.flat().map((cell) =>
    cellOf(cell, `across ${signed(cell.shifts[across])}, upwards ${signed(cell.shifts[down])}`, chosen)));
}

function cellOf({shifts, picture}, label, chosen) {
  const made = element("button", {type: "button", className: "cell", title: label},
                       element("img", {src: picture, alt: label}));
  made.addEventListener("click", () => chosen(shifts));
  return made;
}
