// Sends one picture to the program that serves the page and shows what it says of each face. The
// attention map of a point is computed here, from its query and all keys: no further request.
"use strict";

const $ = (id) => document.getElementById(id);
const LIMIT = Number(document.body.dataset.maxBytes);
const WITHOUT = document.body.dataset.without;
const FIRST_POINT = [0.34, 0.38]; // the eye of Fig. 6: column and row as shares of the sides
const INFERNO = [[0, 0, 4], [66, 10, 104], [147, 38, 103], [221, 81, 58], [252, 165, 10],
  [252, 255, 164]]; // six of the colours of matplotlib's map, dark to bright
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let underway = new AbortController();
let stream = null;

// ---- Asking

async function ask(picture) {
  underway.abort();
  const { signal } = underway = new AbortController();
  $("faces").replaceChildren();
  tell("", "");
  if (picture.size > LIMIT) {
    tell("", `${picture.name} is larger than ${LIMIT / 2 ** 20} MiB: shrink it`);
    return;
  }
  tell("Looking …", "");
  try {
    const response = await fetch("faces", { method: "POST", body: picture, signal });
    const said = await response.json();
    if (!response.ok) throw new Error(said.error);
    const count = said.faces.length;
    tell(count ? `${count} ${count === 1 ? "face" : "faces"}` : "", said.warning);
    $("faces").replaceChildren(...said.faces.map(panel));
  } catch (error) {
    if (signal.aborted) return; // another picture was given meanwhile
    const silent = error instanceof TypeError || error instanceof SyntaxError;
    tell("", silent ? "The program behind this page does not answer. Does it run?" : error.message);
  }
}

function tell(status, problem) {
  $("status").textContent = status;
  $("problem").textContent = problem;
}

// ---- Showing a face

function panel(face) {
  const node = document.importNode($("face").content, true).firstElementChild;
  const find = (selector) => node.querySelector(selector);
  const shares = Object.entries(face.probabilities);
  const [name, share] = shares.reduce((best, next) => (next[1] > best[1] ? next : best));
  find("h2").textContent = `${name}, ${percent(share)}`;
  find(".warning").textContent = face.warning;
  find(".shares tbody").append(...shares.map((entry) => row(entry, entry[0] === name)));
  find(".input img").src = face.input;
  if (face.generated) find(".generated img").src = face.generated;
  else find(".generated").remove();
  if (face.attention) makeClickable(node, face);
  else {
    find(".attention").remove();
    find(".hint").textContent = WITHOUT;
  }
  return node;
}

function row([name, share], strong) {
  const [line, head, bar, number] = ["tr", "th", "td", "td"].map((t) => document.createElement(t));
  const filled = document.createElement("i");
  line.className = strong ? "strong" : "";
  head.scope = "row";
  head.textContent = name;
  filled.style.width = `${100 * share}%`;
  bar.className = "share";
  bar.append(filled);
  number.className = "number";
  number.textContent = percent(share);
  line.append(head, bar, number);
  return line;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

// ---- Attention

function makeClickable(node, face) {
  const { side } = face.attention;
  const [query, key] = [face.attention.query, face.attention.key].map(floats);
  const frames = [...node.querySelectorAll(".frame")];
  const drawn = node.querySelector(".generated img");
  const canvas = node.querySelector("canvas");
  let cell = FIRST_POINT.map((share) => Math.floor(share * side));

  const choose = (wanted) => {
    cell = wanted.map((x) => Math.min(Math.max(Math.floor(x), 0), side - 1));
    const [column, line] = cell;
    const weights = attend(query, key, line * side + column, side * side);
    overlay(canvas, drawn, weights, side);
    canvas.weights = weights;
    const most = weights.indexOf(Math.max(...weights));
    canvas.setAttribute("aria-label", "attention over the generated face: from row "
      + `${line + 1}, column ${column + 1} of ${side} most to row ${Math.floor(most / side) + 1}, `
      + `column ${most % side + 1}`);
    for (const mark of node.querySelectorAll(".mark")) {
      mark.style.left = `${100 * (column + 0.5) / side}%`;
      mark.style.top = `${100 * (line + 0.5) / side}%`;
    }
  };
  const under = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * side,
      (event.clientY - box.top) / box.height * side];
  };
  for (const frame of frames) {
    const mark = document.createElement("span");
    mark.className = "mark";
    frame.append(mark);
    frame.tabIndex = 0;
    frame.setAttribute("role", "application");
    frame.setAttribute("aria-label", `${frame.nextElementSibling.textContent}: arrow keys move `
      + "the point");
    frame.addEventListener("click", (event) => choose(under(event)));
    frame.addEventListener("pointermove", (event) => {
      if (event.buttons && event.pointerType === "mouse") choose(under(event));
    });
    frame.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      choose(cell.map((x, i) => x + step[i]));
    });
  }
  node.querySelector(".hint").textContent = "Click or tap a face, or press arrow keys on it, to "
    + "move the point: to draw that point, the generator looks at the bright places.";
  drawn.decode().then(() => choose(cell));
}

function floats(text) {
  return new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

// softmax(query · keys) of one position, as ifgan_jax.models.attention.attention_rows
function attend(query, key, position, count) {
  const width = query.length / count;
  const scores = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    for (let e = 0; e < width; e++) scores[i] += query[position * width + e] * key[i * width + e];
  }
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const weights = scores.map((score) => Math.exp(score - largest));
  const total = weights.reduce((a, b) => a + b);
  return weights.map((weight) => weight / total);
}

// The map over the faint face, from 0 to its own largest weight, as in Fig. 6.
function overlay(canvas, face, weights, side) {
  const largest = weights.reduce((a, b) => Math.max(a, b));
  const small = document.createElement("canvas");
  small.width = small.height = side;
  const pixels = new ImageData(side, side);
  weights.forEach((weight, i) => {
    const at = weight / largest * (INFERNO.length - 1);
    const low = Math.min(Math.floor(at), INFERNO.length - 2);
    const colour = INFERNO[low].map((c, k) => c + (at - low) * (INFERNO[low + 1][k] - c));
    pixels.data.set([...colour, 255], 4 * i);
  });
  small.getContext("2d").putImageData(pixels, 0, 0);
  const context = canvas.getContext("2d");
  context.globalAlpha = 1;
  context.drawImage(face, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 0.65;
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

// ---- Giving a picture

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  if ($("file").files.length) ask($("file").files[0]);
  $("file").value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", (event) => give(event.clipboardData));
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    document.querySelector(".give").classList.toggle("over", name === "dragover");
    if (name === "drop") give(event.dataTransfer);
  });
}

function give(transfer) {
  if (transfer.files.length) ask(transfer.files[0]);
  else tell("", "That is no file: save the picture first, then choose it.");
}

// ---- Camera

async function lookForCamera() {
  let missing = "";
  if (!navigator.mediaDevices) missing = "needs https, or this machine's own address";
  else {
    const devices = await navigator.mediaDevices.enumerateDevices();
    if (!devices.some((device) => device.kind === "videoinput")) missing = "no camera found";
  }
  $("camera").disabled = missing !== "";
  $("camera-note").textContent = missing;
}

async function openCamera() {
  closeCamera();
  $("camera").disabled = true; // a second click would open a second stream, which nobody closes
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch (error) {
    tell("", `The camera cannot be used: ${error.message}`);
    return;
  } finally {
    lookForCamera();
  }
  $("video").srcObject = stream;
  $("live").hidden = false;
  $("take").focus();
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = $("video").srcObject = null;
  $("live").hidden = true;
}

function takePicture() {
  const video = $("video");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  if (!canvas.width) return; // the camera has not begun yet
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob(ask, "image/jpeg", 0.95);
}

$("camera").addEventListener("click", openCamera);
$("stop").addEventListener("click", closeCamera);
$("take").addEventListener("click", takePicture);
navigator.mediaDevices?.addEventListener("devicechange", lookForCamera);
lookForCamera();
