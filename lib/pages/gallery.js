"use strict";
const frames = Number(document.body.dataset.frames);
const start = Number(document.body.dataset.start);
const eps = Number(document.body.dataset.eps);
const cells = Number(document.body.dataset.cells);
const fps = Number(document.body.dataset.fps);
const columns = Math.ceil(Math.sqrt(frames));  // of a film
const stripHeight = 128;  // pixels, more than a card shows

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
  if (card.dataset.film) drawFrame(card.querySelector(".frame"), card, i);
  else card.querySelector(".frame").src = frameFile(card, i);
  card.querySelector("output").textContent = inShort(i);
}

// A film is one picture of all frames, in rows. Draws frame i of it at the place x of a canvas, as high as that is.
function draw(canvas, film, i, x) {
  const width = film.naturalWidth / columns, height = film.naturalHeight / Math.ceil(frames / columns);
  const context = canvas.getContext("2d"), across = width * canvas.height / height;
  context.imageSmoothingQuality = "high";
  context.drawImage(film, i % columns * width, Math.floor(i / columns) * height, width, height,
                    x * across, 0, across, canvas.height);
}

function drawFrame(canvas, card, i) {
  canvas.dataset.shown = i;
  if (card.film?.naturalWidth) draw(canvas, card.film, i, 0);
}

function drawStrip(canvas, film) {
  for (let cell = 0; cell < cells; cell++)
    draw(canvas, film, Math.round((cells > 1 ? cell / (cells - 1) : 0.5) * (frames - 1)), cell);
}

// Fetches a card's film, sizes its canvases, and shows what its slider says.
function load(card) {
  if (card.film) return;
  const film = card.film = new Image(), strip = card.querySelector(".strip");
  film.onload = () => {
    const width = film.naturalWidth / columns, height = film.naturalHeight / Math.ceil(frames / columns);
    for (const canvas of card.querySelectorAll("figure canvas")) Object.assign(canvas, {width, height});
    strip.height = Math.min(height, stripHeight);
    strip.width = Math.round(cells * width * strip.height / height);
    drawStrip(strip, film);
    card.querySelectorAll("figure canvas").forEach(canvas => drawFrame(canvas, card, canvas.dataset.shown ?? start));
  };
  film.src = card.dataset.film;
}

// Fetches a path's frames when its slider is first touched, nearest first. The list keeps them in memory.
function preload(card) {
  if (card.preloaded || card.dataset.film) return;
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
  const along = (event.offsetX / event.target.clientWidth * cells - 0.5) / Math.max(cells - 1, 1);
  show(event.target.closest(".card"), Math.round(Math.min(Math.max(along, 0), 1) * (frames - 1)));
});

// Films are fetched shortly before they are reached, and the animations of those on screen go there and back.
const films = document.querySelectorAll(".card[data-film]"), playing = new Set();
const near = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting)
                                                        .forEach(entry => load(entry.target)), {rootMargin: "50%"});
const onScreen = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) isIntersecting ? playing.add(target) : playing.delete(target);
});
films.forEach(card => { near.observe(card); onScreen.observe(card); });

const still = matchMedia("(prefers-reduced-motion: reduce)"), turn = Math.max(2 * frames - 2, 1);
function play(time) {
  const step = Math.floor(time * fps / 1000) % turn, i = Math.min(step, turn - step);
  if (!still.matches) playing.forEach(card => {
    const canvas = card.querySelector(".animation canvas");
    if (canvas.dataset.shown !== String(i)) drawFrame(canvas, card, i);
  });
  requestAnimationFrame(play);
}
if (films.length) requestAnimationFrame(play);

// A page that stands alone holds each original image once, whatever number of cards link to it.
const originals = JSON.parse(document.getElementById("originals")?.textContent ?? "{}");
document.querySelectorAll("[data-original]").forEach(link => link.href = originals[link.dataset.original]);

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
