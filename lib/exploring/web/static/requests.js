// Asking the server: JSON or a file there, JSON or a picture back.
const PREFIX = "/explorer/";
let key = null;
let gone = () => {};

export class Refused extends Error {}  // with what the page tells

export function visit(visitor, whenGone) {
  key = visitor;
  gone = whenGone;
}

// The answer: an object, a Blob if it is not JSON or if `asBlob`, or null where a newer request has replaced this one.
export async function ask(path, body = {}, asBlob = false) {
  const response = await reach(path, body);
  if (response.status === 204) return null;
  if (response.status === 410) gone();
  if (!response.ok) throw new Refused(await reason(response));
  const isJson = response.headers.get("content-type").startsWith("application/json");
  if (isJson && !asBlob) return response.json();
  return Object.assign(await response.blob(), {fileName: nameIn(response.headers.get("content-disposition") ?? "")});
}

async function reach(path, body) {
  const isFile = body instanceof Blob;
  const headers = {"content-type": isFile ? "application/octet-stream" : "application/json"};
  if (key) headers["x-visitor"] = key;
  try {
    return await fetch(PREFIX + path, {method: "POST", headers, body: isFile ? body : JSON.stringify(body)});
  } catch {
    throw new Refused("The explorer does not answer: was explore.py stopped?");
  }
}

async function reason(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The explorer refused this (${response.status}).`;
  }
}

const nameIn = (disposition) => disposition.match(/filename="([^"]*)"/)?.[1];
