// The sentences at both ends of each slider, and the buttons of a visitor's own ones.
import {element, signed} from "./elements.js";

// Writes what stands above the slider in the group `path-<index>`; slider: null where a place is free.
export function label(index, slider, buttons) {
  const group = document.getElementById(`path-${index}`);
  if (!group) return;
  group.toggleAttribute("data-taken", slider !== null);
  if (slider === null) return;
  const poles = group.querySelector(".poles");
  poles.replaceChildren(...ends(slider));
  const note = slider.measured ? element("span", {className: "measured"}, slider.measured) : null;
  const own = buttons.map(([text, does]) => {
    const button = element("button", {type: "button", title: `${text}: ${slider.title}`}, text);
    button.addEventListener("click", does);
    return button;
  });
  if (note || own.length) poles.append(element("span", {className: "about"}, ...(note ? [note] : []), ...own));
}

function ends(slider) {
  if (!slider.parts) return [element("span", {className: "left"}, "−"), element("strong", {}, slider.first),
                             element("span", {className: "right"}, "+")];
  const [opening, left, right, ending] = slider.parts;
  return [["left", left], ["right", right]].map(([side, words]) =>
    element("span", {className: side}, `${opening} `, element("strong", {}, words), ` ${ending}`));
}

// What a screen reader is told of a look: each moved slider in words.
export function inWords(sliders, shifts) {
  const moved = sliders.filter(({id}) => shifts[id]).map(({id, first, second}) => {
    const towards = second && shifts[id] < 0 ? second : first;
    return `${signed(shifts[id])} towards “${towards}”`;
  });
  return moved.length ? moved.join(", ") : "nothing moved";
}
