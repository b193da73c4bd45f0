// Opens the page again every few seconds. Once training has ended, the run's directory is elsewhere, and the page with
// it: whether a directory is there shows by one of its pictures, since a page from a disk may read nothing else.
const SECONDS = 5;
const { picture, experiment } = document.body.dataset;

function exists(folder, found, missing) {
  const probe = new Image();
  probe.onload = found;
  probe.onerror = missing;
  probe.src = `${folder}${picture}?${Date.now()}`;
}

function next() {
  const ended = `../../complete/${encodeURIComponent(experiment)}/`;
  exists("", () => location.reload(), () => exists(ended, () => location.replace(`${ended}progress.html`), () => {
    document.getElementById("note").textContent = "The run’s directory is gone.";
  }));
}

if (picture) setTimeout(next, 1000 * SECONDS);
