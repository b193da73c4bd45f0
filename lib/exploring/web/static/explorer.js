// What the page's widgets do. Gradio's page calls the functions of `explorer`; its widgets are set by `widgets()`.
import {ask, Refused, visit} from "./requests.js";
import {afterRest, Latest} from "./latest.js";
import {Comparison, show} from "./stage.js";
import {element, find} from "./elements.js";
import {inWords, label} from "./paths.js";
import {showGrid, showNumbers, showStrip} from "./figures.js";
import {connectFiles, save} from "./files.js";

const REST = 250;  // milliseconds without a move, after which a look is remembered and judged
const MEASURING = 1000;  // milliseconds between questions whether the judge's ranges are known
const LONGEST_HASH = 8000;  // in the address bar; the link that is copied has any length
const LARGEST_SEED = 2 ** 31 - 1;
const KEPT_KEY = "visitor";

let about = null;  // what the server said of itself
let view = null;  // what it last said of our look
let shifts = {};  // of the sliders, as they stand now
let moved = null;  // the slider that was moved last
let along = null;  // that of the film strip
let beforeIsOld = true;
let resting = false;  // whether a look waits for being remembered
let comparison = null;
const keeping = {}, wanted = {};

const sliders = () => [...about.given, ...view.own];

// Pictures

const painter = new Latest(async () => {
  const asked = {start: view.start.number, shifts: {...shifts}, preview: wanted.preview};
  await told(async () => {
    const blob = await ask("picture", asked);
    if (blob === null || asked.start !== view.start.number) return;
    await show("now", blob, `${name()}, ${inWords(sliders(), asked.shifts)}`);
    find("now").dataset.shifts = JSON.stringify(asked.shifts);
    find("pictures").classList.remove("waiting");
    if (asked.preview && about.preview && !painter.wanted) sharpen();
  });
});

const beforePainter = new Latest(() => told(async () => {
  beforeIsOld = false;
  const blob = await ask("before");
  if (blob) await show("before", blob, view.locked ? "Before: the look that was locked" : "Before: nothing moved");
  else beforeIsOld = true;
}));

function paint(preview) {
  wanted.preview = preview && about.preview;
  painter.ask();
}

const sharpen = afterRest(REST, () => paint(false));

async function needBefore() {
  if (painter.running) await painter.running;
  if (beforeIsOld) await beforePainter.ask();
}

// Figures

const numbers = new Latest(() => told(async () => {
  if (!about.judge) return;
  const answer = await ask("numbers");
  describeJudge(answer?.measuring);
  if (answer?.numbers) showNumbers(answer.numbers, sliders().filter(({id}) => shifts[id]).map(({number}) => number));
  if (answer?.measuring) setTimeout(() => numbers.ask(), MEASURING);
}));

const strip = new Latest(() => told(async () => {
  if (along === null) return;
  const answer = await ask("strip", {slider: along});
  const slider = sliders().find(({id}) => id === along);
  if (answer && slider) showStrip(answer.strip, slider.title, shifts[along] ?? 0, goTo);
}));

const settle = afterRest(REST, () => told(async () => {
  await painter.running;
  resting = false;
  const answer = await ask("settle", {start: view.start.number, shifts});
  if (answer === null) return;
  accept(answer.view);
  numbers.ask();
  strip.ask();
  if (comparison.shown) needBefore();
}));

// To be called after each move: the look is remembered and judged once the sliders have come to rest.
function rest() {
  resting = true;
  settle();
}

// What the server answers

// Runs something, and tells what the server refused, at `place`.
async function told(does, place) {
  try {
    return await does();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message, true, place);
    return null;
  }
}

// place: the id of one of the elements for messages, beside what the message is about. The other ones become empty.
function tell(text, isError = false, place = "message") {
  for (const message of document.querySelectorAll(".message")) message.replaceChildren();
  if (!text) return;
  find(place).append(element("p", {className: isError ? "error" : ""}, text));
  if (place !== "message") find(place).scrollIntoView({block: "nearest"});
}

// Asks for something that changes the look, follows its work to the end, and shows what came of it.
function act(path, body = {}, place = "message") {
  return told(async () => {
    tell("");
    const answer = await follow(await ask(path, body));
    if (answer?.view) take(answer.view, place);
    return answer;
  }, place);
}

async function follow(answer) {
  try {
    while (answer?.work) {
      const {doing, share} = answer.work;
      find("work").hidden = false;
      find("doing").textContent = doing + percent(share);
      if (share === null) find("share").removeAttribute("value");
      else find("share").value = share;
      answer = await ask("work");
    }
  } finally {
    find("work").hidden = true;
  }
  return answer;
}

const percent = (share) => (share === null ? "" : ` (${Math.round(100 * share)} %)`);

// Takes note of a view of our look.
function accept(newer, place) {
  if (newer.start.number !== view?.start.number || newer.locked !== view?.locked) beforeIsOld = true;
  view = newer;
  find("back").disabled = !view.back;
  find("forward").disabled = !view.forward;
  find("lock").setAttribute("aria-pressed", view.locked);
  find("caption").textContent = `${name()} · ${counted(Object.keys(shifts).length)} moved`;
  const fits = view.link.length <= LONGEST_HASH;
  history.replaceState(history.state, "", fits ? view.link : location.pathname);
  if (view.remarks.length) tell(view.remarks.join(" "), false, place);
}

// Shows a view that the server has made: sliders, picture and figures.
function take(newer, place) {
  shifts = {...newer.shifts};
  accept(newer, place);
  if (view.start.seed !== null) find("inversion").hidden = true;
  sliders().forEach((slider, index) => label(index, slider, slider.own ? ownButtons(slider) : []));
  for (let i = sliders().length; i < about.given.length + about.own_places; i++) label(i, null, []);
  if (!sliders().some(({id}) => id === along)) along = sliders()[0]?.id ?? null;
  find("refresh").click();
  find("pictures").classList.add("waiting");
  paint(true);
  numbers.ask();
  strip.ask();
  if (comparison.shown) needBefore();
}

function goTo(some) {
  shifts = {...shifts, ...some};
  for (const [id, shift] of Object.entries(shifts)) if (!shift) delete shifts[id];
  find("refresh").click();
  paint(true);
  rest();
}

const name = () => (view.start.seed === null ? "Your picture" : `Seed ${view.start.seed}`);
const counted = (number) => `${number} ${number === 1 ? "slider" : "sliders"}`;

function ownButtons({id, title, method}) {
  const buttons = [["Keep", () => keep(id, title)], ["Remove", () => act("forget", {slider: id})]];
  return method === "refined" ? buttons : [["Refine", () => refine(id)], ...buttons];
}

async function refine(id) {
  const answer = await act("refine", {slider: id});
  if (answer?.made) tell("The refined path has a slider of its own, beside the one that it comes from.");
}

async function keep(id, title) {
  const chosen = prompt("Save this path as an experiment, which train.py's other commands walk. Its name:", slug(title));
  if (!chosen) return;
  const answer = await told(() => ask("keep", {sliders: [id], name: chosen}));
  if (answer) tell(`Saved. To walk it: python traverse_latent_space.py --exp=${answer.kept}`);
}

const slug = (title) => title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 40);

function newSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] % 100_000;
}

function begin_at(seed, truncation = view.start.truncation) {
  return act("start", {seed, truncation});
}

const retruncate = afterRest(REST, () => begin_at(view.start.seed, wanted.truncation));

// What Gradio's widgets call

window.explorer = {
  // The values of all widgets: the sliders, those of a visitor's own, seed, truncation, and the choices of sliders.
  widgets() {
    const own = Array.from({length: about.own_places}, (_, i) => {
      const slider = view.own[i];
      return slider ? update({label: slider.title, minimum: -slider.limit, maximum: slider.limit, step: slider.step,
                              value: shifts[slider.id] ?? 0}) : update({});
    });
    const choices = sliders().map(({id, short}) => [short, id]);
    const key = JSON.stringify(choices), same = keeping.choices === key;
    keeping.choices = key;
    const choose = same ? update({}) : update({choices});
    return [...about.given.map(({id}) => shifts[id] ?? 0), ...own, view.start.seed, view.start.truncation, choose, choose,
            choose];
  },

  move(index, shift) {
    const slider = sliders()[index];
    if (!slider || !Number.isFinite(shift)) return;
    const within = Math.min(Math.max(shift, -slider.limit), slider.limit);  // the box takes any number
    const rounded = Math.abs(within) < slider.step / 2 ? 0 : within;
    if (rounded === (shifts[slider.id] ?? 0)) return;
    if (rounded) shifts[slider.id] = rounded;
    else delete shifts[slider.id];
    moved = slider.id;
    paint(true);
    rest();
  },

  newStart: () => begin_at(newSeed()),
  chooseSeed(seed) {
    if (seed === null || seed === view.start.seed) return;
    if (!Number.isInteger(seed) || seed < 0 || seed > LARGEST_SEED) tell(`A seed is a whole number up to ${LARGEST_SEED}.`, true);
    else begin_at(seed);
  },
  chooseTruncation(share) {
    if (view.start.seed === null) {
      tell("Truncation changes portraits that are drawn by a seed, not a picture of yours.", true);
      return;
    }
    wanted.truncation = share;
    retruncate();
  },
  back: () => act("back"),
  forward: () => act("forward"),
  reset() {
    shifts = {};
    find("refresh").click();
    paint(true);
    rest();
  },

  // What is set now, and whether something is still on its way.
  state: () => view && ({shifts: {...shifts}, start: view.start, busy: Boolean(painter.running || resting)}),

  compare: () => comparison.toggle(),
  lock: () => act("lock", {locked: !view.locked}),
  nothing() {},

  async say(first, second) {
    const answer = await act("say", {first: first.trim(), second: second.trim()}, "sentences-message");
    if (!answer?.made) return;
    const index = sliders().findIndex(({id}) => id === answer.made);
    document.querySelector(`#path-${index} input[type=range]`)?.focus();
  },

  showStrip(id) {
    along = id;
    strip.ask();
  },
  showGrid: (across, down) => told(async () => {
    find("grid-cells").classList.add("waiting");
    const answer = await ask("grid", {across, down});
    if (answer) showGrid(answer.grid, goTo);
    find("grid-cells").classList.remove("waiting");
  }),

  download: (kind) => told(async () => {
    if (kind === "gif") tell("The animation is being made.");
    const blob = await ask("file", {kind, slider: kind === "gif" ? moved ?? along : null}, true);
    if (blob) save(blob);
    tell("");
  }),
  async copyLink() {
    const link = location.origin + location.pathname + view.link;
    try {
      await navigator.clipboard.writeText(link);
      tell("The link is copied: it restores this setting exactly, in an explorer of the same experiments.");
    } catch {
      prompt("This link restores the setting exactly:", link);
    }
  },
  chooseSetting: () => find("setting-file").click(),
  keepCode: (chosen) => told(async () => {
    const answer = await ask("keep-code", {name: chosen.trim()});
    if (answer) tell(`Saved: ${answer.kept}`);
  }),
};

// Begins once Gradio has built the page.
async function begin() {
  const isReload = performance.getEntriesByType("navigation")[0]?.type === "reload";
  const earlier = isReload ? sessionStorage.getItem(KEPT_KEY) : null;
  const link = location.hash;
  comparison = new Comparison(needBefore);
  connect();
  await told(async () => {
    about = await ask("hello", {key: earlier});
    visit(about.key, startAgain);
    sessionStorage.setItem(KEPT_KEY, about.key);
    describe();
    along = about.given[0]?.id ?? null;
    take(about.view);
    if (about.working) await act("work");
    else if (link.startsWith("#look=") && link !== about.view.link) await act("open", {text: link});
  });
}

const building = new MutationObserver(beginOnceBuilt);
building.observe(document.documentElement, {childList: true, subtree: true});
beginOnceBuilt();

function beginOnceBuilt() {
  if (about || !["now", "changes", "strip-cells", "files", "refresh"].every(find)) return;
  building.disconnect();
  begin();
}

const update = (changes) => ({__type__: "update", ...changes});

function describe() {
  // They are Gradio's, and of Gradio.
  for (const meta of document.querySelectorAll("meta[property^='og:'], meta[name^='twitter:']")) meta.remove();
  find("generator").textContent = about.gan;
  const experiments = [...new Set(about.given.map(({experiment}) => experiment))].filter(Boolean);
  find("experiments").textContent = find("experiments").title = experiments.join(" · ");
  describeJudge();
  find("sentences-note").textContent = about.sentences_missing
    ? `Not here: ${about.sentences_missing}`
    : "Type what should change, and a slider for it is made without training.";
}

// measuring: how far it is with the ranges of the judge's numbers, if these are not known yet.
function describeJudge(measuring = null) {
  find("changes-note").textContent = measuring ? `Soon: ${measuring.doing}${percent(measuring.share)}.` : about.judge
    ? `The judge ${about.judge} reads the picture before and now, in shares of each number’s range.`
    : `Nothing is measured: ${about.judge_missing}`;
}

function connect() {
  connectFiles((text) => act("open", {text}, "picture-message"), openCode, invert);
  find("stop").addEventListener("click", () => told(() => ask("stop")));
  window.addEventListener("hashchange", () => {
    if (location.hash.startsWith("#look=") && location.hash !== view.link) act("open", {text: location.hash});
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const does = {n: explorer.newStart, r: explorer.reset, c: explorer.compare, l: explorer.lock, b: () => comparison.hold(true),
                  "[": explorer.back, "]": explorer.forward}[event.key];
    if (!does) return;
    event.preventDefault();
    if (!event.repeat) does();
  });
  document.addEventListener("keyup", (event) => { if (event.key === "b") comparison.hold(false); });
}

const isTyping = (target) => target.matches("textarea, select, [contenteditable], input:not([type=range])");

const shortName = (file) => encodeURIComponent(file.name.slice(0, 200));

function openCode(file) {
  return act(`code?name=${shortName(file)}`, file, "picture-message");
}

async function invert(file) {
  if (file.size > 32 * 2 ** 20) {
    tell("A picture may have 32 MiB: make this one smaller.", true, "picture-message");
    return;
  }
  const answer = await act(`invert?name=${shortName(file)}`, file, "picture-message");
  if (!answer?.inverted) return;
  find("original").src = answer.inverted.original;
  find("inversion-note").textContent = `Your picture, and on the stage the nearest one that ${about.gan} can make `
    + `(distance ${answer.inverted.distance.toPrecision(2)}).`;
  find("inversion").hidden = false;
}

// The server does not know this tab, as after a restart: a reload with the link brings back all that is in it.
function startAgain() {
  const last = Number(sessionStorage.getItem("again") ?? 0);
  if (Date.now() - last < 5000) return;
  sessionStorage.setItem("again", Date.now());
  history.replaceState(history.state, "", view?.link ?? location.pathname);
  location.reload();
}
