"use strict";
const frames = Number(document.body.dataset.frames);
const start = Number(document.body.dataset.start);
const eps = Number(document.body.dataset.eps);

const frameFile = (card, i) => `${card.dataset.frames}/${String(i).padStart(6, "0")}.jpg`;

function inWords(section, i) {
  const steps = Math.abs(i - start);
  if (!steps) return "start image";
  const pole = i < start ? section.dataset.left : section.dataset.right;  // none where the path has a single name
  const where = pole ? `towards “${pole}”` : `in the ${i < start ? "negative" : "positive"} direction`;
  return `${steps} ${steps === 1 ? "step" : "steps"} ${where}`;
}

function inShort(i) {
  const steps = Math.abs(i - start), sign = i < start ? "−" : "+";
  return steps ? `${sign}${steps} · shift ${sign}${Number((steps * eps).toPrecision(3))}` : "start image";
}

function setSlider(slider, i) {
  slider.value = i;
  slider.setAttribute("aria-valuetext", inWords(slider.closest("section"), i));
}

function show(card, i) {
  setSlider(card.querySelector("input"), i);
  card.querySelector(".frame").src = frameFile(card, i);
  card.querySelector("output").textContent = inShort(i);
}

// Fetches a path's frames when its slider is first touched, nearest first. The list keeps them in memory.
function preload(card) {
  if (card.preloaded) return;
  const here = Number(card.querySelector("input").value);
  const order = Array.from({length: frames}, (_, i) => i).sort((a, b) => Math.abs(a - here) - Math.abs(b - here));
  card.preloaded = order.map(i => Object.assign(new Image(), {src: frameFile(card, i)}));
}

function inView(card) {
  const box = card.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

// A card's own slider moves that card; the slider above the cards moves all of its section.
const movedBy = slider => slider.closest(".card") ? [slider.closest(".card")]
                                                  : [...slider.closest("section").querySelectorAll(".card")];

for (const touch of ["pointerdown", "focusin", "input"])
  document.addEventListener(touch, event => {
    if (event.target.type === "range") movedBy(event.target).filter(inView).forEach(preload);
  });

document.addEventListener("input", event => {
  const i = Number(event.target.value);
  setSlider(event.target, i);
  movedBy(event.target).forEach(card => show(card, i));
});

document.addEventListener("click", event => {
  if (!event.target.matches(".strip")) return;
  const cells = Number(getComputedStyle(document.body).getPropertyValue("--cells"));
  const along = (event.offsetX / event.target.clientWidth * cells - 0.5) / Math.max(cells - 1, 1);
  show(event.target.closest(".card"), Math.round(Math.min(Math.max(along, 0), 1) * (frames - 1)));
});

const nav = document.querySelector("nav");  // absent where there is only one path

// Marks the path on screen in the navigation, and keeps its entry in view there.
const seen = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    const link = nav.querySelector(`a[href="#${target.id}"]`);
    link.setAttribute("aria-current", isIntersecting);
    if (isIntersecting) nav.scrollTo(link.offsetLeft - 40, link.offsetTop - nav.clientHeight / 2);
  }
}, {rootMargin: "-25% 0px -75% 0px"});
if (nav) document.querySelectorAll("section").forEach(section => seen.observe(section));
