// The judge's bars, the film strip and the grid.
import {element, find, signed} from "./elements.js";

const SHOWN = 7;  // bars, until all are asked for
const NOTICED = 0.03;  // a share of the range
let all = false;

// numbers: [{name, unit, before, now}], shares of each number's range. first: the names of those that come before the
// others, as what the moved sliders are about.
export function showNumbers(numbers, first) {
  const button = find("all-bars");
  const isFirst = ({name}) => first.includes(name);
  const sorted = [...numbers.filter(isFirst), ...numbers.filter((number) => !isFirst(number))];
  find("bars").tBodies[0].replaceChildren(...(all ? sorted : sorted.slice(0, SHOWN)).map(bar));
  button.hidden = numbers.length <= SHOWN;
  button.textContent = all ? "Show fewer" : `Show all ${numbers.length}`;
  button.onclick = () => {
    all = !all;
    showNumbers(numbers, first);
  };
}

function bar({name, before, now}) {
  const clipped = [before, now].map((share) => 100 * Math.min(Math.max(share, 0), 1));
  const track = element("div", {className: "track"});
  const part = element("div", {className: now < before ? "change falling" : "change"});
  part.style.left = `${Math.min(...clipped)}%`;
  part.style.width = `${Math.abs(clipped[1] - clipped[0])}%`;
  const marks = [["was", before, clipped[0]], ["is", now, clipped[1]]].map(([className, share, place]) => {
    const mark = element("div", {className: className + (share > 1 ? " above" : share < 0 ? " below" : "")});
    mark.style.left = `${place}%`;
    return mark;
  });
  track.append(part, ...marks);
  track.title = `${before.toFixed(2)} before, ${now.toFixed(2)} now; the track is the range from 0 to 1`;
  const beyond = now < 0 || now > 1 ? [element("small", {}, `to ${now.toFixed(2).replace("-", "−")}`)] : [];
  const words = element("span", {className: "unseen"}, `${before.toFixed(2)} before, ${now.toFixed(2)} now`);
  const change = now - before;
  return element("tr", {className: Math.abs(change) < NOTICED ? "same" : ""},
                 element("th", {scope: "row"}, name.replaceAll("_", " ")), element("td", {}, track, words),
                 element("td", {className: "number"}, signed(change), ...beyond));
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
