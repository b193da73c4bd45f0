// Files that come in, by dropping or choosing them, and files that go out.
import {element, find} from "./elements.js";

// opened(text) takes a setting, coded(file) a code, inverted(file) a picture.
export function connectFiles(opened, coded, inverted) {
  const stage = find("stage");
  const take = async (file) => {
    if (!file) return;
    const kind = file.name.toLowerCase().match(/\.(json|pt)$/)?.[1];
    if (kind === "json") await opened(await file.text());
    else if (kind === "pt") await coded(file);
    else await inverted(file);
  };
  for (const id of ["picture-file", "setting-file"]) {
    find(id).addEventListener("change", async ({target}) => {
      await take(target.files[0]);
      target.value = "";
    });
  }
  let depth = 0;  // of the elements that the dragged file is above
  const hint = (change) => {
    depth = change === 0 ? 0 : depth + change;
    find("dropping").hidden = depth <= 0;
  };
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => event.preventDefault());
  stage.addEventListener("dragenter", () => hint(1));
  stage.addEventListener("dragleave", () => hint(-1));
  stage.addEventListener("drop", (event) => {
    hint(0);
    take(event.dataTransfer.files[0]);
  });
}

export function save(blob) {
  const link = element("a", {href: URL.createObjectURL(blob), download: blob.fileName});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
