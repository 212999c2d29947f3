// The live page: the connection, what is said over it (sinks/page_wire.py), and the page's parts.

import { Plot } from "./page_plot.js";
import { View } from "./page_view.js";

const FREE_VIEWING = "free viewing";
const RETRY_MS = [300, 700, 1500, 3000];
const STALE_MS = 3000;

const $ = (id) => document.getElementById(id);
const view = new View($("view"));
const plots = {
  rate: new Plot($("rate-plot"), ["#6bd49a"]),
  latency: new Plot($("latency-plot"), ["#6fd3ff", "#ffb454"]),
  dropped: new Plot($("dropped-plot"), ["#ff7b72"], { isBars: true, floor: 4 }),
  entropy: new Plot($("entropy-plot"), ["#c0a6ff"]),
};
const questions = new Map(); // id of a message -> what to do with its answer
const page = {
  socket: null, tries: 0, retry: 0, nextId: 1,
  camera: null, index: 0, isPaused: false, pausedAt: 0,
  received: 0, shown: 0, lastPicture: 0, health: null, header: null,
};

// ---- connection ------------------------------------------------------------------------------------

function connect() {
  clearTimeout(page.retry);
  if (page.socket || document.visibilityState === "hidden") return;
  const address = new URL("ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.search = location.search; // carries the token
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { page.tries = 0; lookAgain(); showStatus(); };
  socket.onmessage = ({ data }) => (typeof data === "string" ? hear(JSON.parse(data)) : receive(socket, data));
  socket.onclose = () => { if (page.socket === socket) disconnected(); };
  page.socket = socket;
  showStatus();
}

function disconnected() {
  page.socket = null;
  questions.forEach((done) => done({ ok: false, error: "the connection was lost" }));
  questions.clear();
  clearTimeout(page.retry);
  if (document.visibilityState !== "hidden") {
    page.retry = setTimeout(connect, RETRY_MS[Math.min(page.tries, RETRY_MS.length - 1)]);
  }
  page.tries += 1;
  showStatus();
}

// A page that nobody sees hangs up, so that nothing is encoded for it.
function visibilityChanged() {
  if (document.visibilityState !== "hidden") return connect();
  const socket = page.socket;
  page.tries = 0;
  disconnected();
  socket?.close();
}

const isOpen = () => page.socket?.readyState === WebSocket.OPEN;

function ask(message, done) {
  if (!isOpen()) return done({ ok: false, error: "not connected" });
  const id = page.nextId++;
  questions.set(id, done);
  page.socket.send(JSON.stringify({ ...message, id }));
}

// A new connection shows the first camera and prompt until it is told otherwise.
function lookAgain() {
  if (page.camera !== null || page.index !== 0) look();
}

function look() {
  ask({ cmd: "look", camera: page.camera, index: page.index }, ({ ok }) => {
    if (!ok) page.camera = null; // the server was started anew with other cameras
  });
}

function hear(message) {
  if (message.type === "health") return showHealth(message);
  if (message.type === "crops") return showCrops(message);
  if (message.type !== "answer") return;
  questions.get(message.id)?.(message);
  questions.delete(message.id);
}

// ---- pictures --------------------------------------------------------------------------------------

async function receive(socket, buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  if (header.others) return receiveOthers(socket, header.others, buffer, 4 + length);
  const turn = ++page.received;
  try {
    const jpeg = new Uint8Array(buffer, 4 + length, header.jpeg_bytes);
    const cells = new Uint8Array(buffer, 4 + length + header.jpeg_bytes);
    const picture = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    await new Promise(requestAnimationFrame);
    if (turn < page.shown) return; // decoded after the one that followed it
    page.shown = turn;
    showPicture(picture, header, cells);
  } finally {
    // Said only now: a browser that cannot keep up gets fewer pictures, not older ones.
    if (socket.readyState === WebSocket.OPEN) socket.send('{"cmd":"seen"}');
  }
}

// Small pictures of the cameras that are not looked at; a click looks.
async function receiveOthers(socket, others, buffer, start) {
  const list = $("others");
  try {
    list.hidden = others.length === 0;
    while (list.children.length > others.length) list.lastChild.remove();
    while (list.children.length < others.length) list.append(makeOther());
    for (const [i, other] of others.entries()) {
      const jpeg = new Uint8Array(buffer, start, other.jpeg_bytes);
      start += other.jpeg_bytes;
      showOther(list.children[i].firstChild, other.camera, await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })));
    }
  } finally {
    if (socket.readyState === WebSocket.OPEN) socket.send('{"cmd":"seen","others":true}');
  }
}

function showOther(button, camera, picture) {
  const [canvas, name] = button.children;
  [canvas.width, canvas.height] = [picture.width, picture.height];
  canvas.getContext("2d").drawImage(picture, 0, 0);
  picture.close();
  const state = page.health?.source_state[camera] ?? "live";
  button.dataset.camera = camera;
  button.classList.toggle("is-bad", state !== "live");
  name.textContent = state === "live" ? camera : `${camera}: ${state}`;
}

function makeOther() {
  const [item, button] = [make("li"), make("button")];
  button.type = "button";
  button.append(make("canvas"), make("span"));
  button.addEventListener("click", () => { page.camera = button.dataset.camera; look(); });
  item.append(button);
  return item;
}

function showPicture(picture, header, cells) {
  const now = performance.now();
  page.lastPicture = now;
  // Somebody else may have let the stream go on.
  if (page.isPaused && now - page.pausedAt > 1500) setPaused(false);
  page.header = header;
  $("stage").style.setProperty("--aspect", header.image[0] / header.image[1]);
  view.show(picture, header, cells);
  showChoices(header);
  showAttention(header.attention, header.map);
  showStatus();
}

function showAttention(attention, map) {
  setText("prompt-now", attention?.prompt ?? "–");
  setText("entropy", number(attention?.entropy, 2));
  setText("entropy-most", map ? `of ${Math.log2(map[0] * map[1]).toFixed(1)} bits` : "bits");
  const presence = attention?.presence ?? null;
  $("presence").hidden = presence === null;
  if (presence !== null) setText("presence", `in view: ${(100 * presence).toFixed(0)} %`);
  showTargets(attention?.targets ?? []);
}

function showTargets(targets) {
  const list = $("targets");
  $("no-targets").hidden = targets.length > 0;
  while (list.children.length > targets.length) list.lastChild.remove();
  while (list.children.length < targets.length) list.append(makeTarget());
  targets.forEach((target, i) => {
    const [rank, bar, share] = list.children[i].children;
    rank.textContent = i + 1;
    bar.value = target.score;
    bar.title = `x ${target.x.toFixed(0)}, y ${target.y.toFixed(0)} px, sigma ${target.sigma_px.toFixed(0)} px`;
    share.textContent = `${(100 * target.score).toFixed(0)} %`;
  });
}

function makeTarget() {
  const item = make("li");
  const bar = make("meter");
  bar.setAttribute("aria-label", "share of attention");
  item.append(make("span", "rank"), bar, make("span", "share"));
  return item;
}

// A strip of what a detector or a vision-language model gets to see.
function showCrops({ crops }) {
  const strip = $("crops");
  strip.hidden = crops.length === 0;
  while (strip.children.length > crops.length) strip.lastChild.remove();
  while (strip.children.length < crops.length) strip.append(make("img"));
  crops.forEach(({ target_id, prompt, score, box, jpeg }, i) => {
    const picture = strip.children[i];
    picture.src = `data:image/jpeg;base64,${jpeg}`;
    picture.alt = `target ${target_id} of ${prompt}`;
    picture.title = `${picture.alt}, ${(100 * score).toFixed(0)} %, at ${box[0]}, ${box[1]} px, ${box[2]} x ${box[3]} px`;
  });
}

function showChoices(header) {
  fill($("camera"), header.cameras.map((name) => [name, name]), header.camera);
  $("camera-choice").hidden = header.cameras.length < 2;
  const prompts = header.prompts.map(({ index, prompt }) => [String(index), `${index + 1}: ${prompt}`]);
  fill($("prompt-index"), prompts, String(header.attention?.prompt_index ?? 0));
  $("prompt-choice").hidden = prompts.length < 2;
}

// Touches a list only where it differs: it may be open under the user's finger.
function fill(select, entries, chosen) {
  const wanted = JSON.stringify(entries);
  if (select.dataset.entries !== wanted) {
    select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
    select.dataset.entries = wanted;
    select.value = chosen;
  }
  if (document.activeElement !== select) select.value = chosen;
}

// ---- health ----------------------------------------------------------------------------------------

function showHealth(health) {
  const dropped = sum(health.dropped);
  const before = page.health ? sum(page.health.dropped) : dropped;
  plots.rate.add(health.rate_hz);
  plots.latency.add(health.latency_ms.p50 ?? null, health.latency_ms.p99 ?? null);
  plots.dropped.add(Math.max(0, dropped - before));
  plots.entropy.add(page.header?.attention?.entropy ?? null);
  setText("rate", number(health.rate_hz, 1));
  setText("p50", milliseconds(health.latency_ms.p50));
  setText("p99", milliseconds(health.latency_ms.p99));
  setText("dropped", dropped);
  page.health = health;
  showSystem(health);
  const isFresh = health.maps === "ok";
  showWarnings(isFresh ? health.warnings : [`no fresh maps: ${health.maps}`, ...health.warnings]);
  describe();
  showStatus();
}

function showSystem(health) {
  const stages = Object.entries(health.stages_ms).map(([name, ms]) => `${name} ${number(ms, 1)}`);
  const places = Object.entries(health.dropped).filter(([, count]) => count > 0);
  const rows = [
    ...Object.entries(health.source_state).map(([name, state]) => [
      `camera ${name}`, cameraWords(state, health.cameras?.[name]), state === "lost",
    ]),
    ["engine", [health.engine, health.device].filter(Boolean).join(", ")],
    ["model", page.header?.attention?.model || "–"],
    ["stages", stages.length ? `${stages.join(", ")} ms` : "–"],
    ["dropped", places.map(([place, count]) => `${place} ${count}`).join(", ") || "nothing"],
    ...Object.entries(health.sinks).map(([name, state]) => [name, state, state !== "ok"]),
    ["memory", `${Math.round(health.rss_bytes / 1e6)} MB`],
    ["up", duration(health.uptime_s)],
  ];
  $("system").replaceChildren(...rows.flatMap(([name, value, isBad]) => {
    const [term, text] = [make("dt"), make("dd", isBad ? "is-bad" : "")];
    [term.textContent, text.textContent] = [name, value];
    return [term, text];
  }));
}

function cameraWords(state, camera) {
  return camera ? `${state}, ${number(camera.rate_hz, 1)} maps/s` : state;
}

function showWarnings(warnings) {
  $("warnings").hidden = warnings.length === 0;
  $("warnings").replaceChildren(...warnings.map((text) => Object.assign(make("li"), { textContent: text })));
}

// What a screen reader says of the picture, once a second.
function describe() {
  const attention = page.header?.attention;
  const count = attention?.targets.length ?? 0;
  const best = count ? `, the first with ${(100 * attention.targets[0].score).toFixed(0)} % of attention` : "";
  const words = attention ? `Camera ${page.header.camera}, ${attention.prompt}: ${count} targets${best}` : "Camera picture, not here yet";
  $("view").setAttribute("aria-label", words);
}

// ---- state of the page -----------------------------------------------------------------------------

function showStatus() {
  const [state, words, notice] = currentState();
  const pill = $("status");
  if (pill.textContent !== words) pill.textContent = words;
  pill.dataset.state = state;
  $("stage").classList.toggle("is-old", state === "disconnected");
  $("notice").hidden = !notice;
  if (notice) setText("notice", notice);
  for (const id of ["pause", "reset"]) $(id).disabled = !isOpen();
}

function currentState() {
  if (!isOpen()) {
    if (page.tries === 0) return ["connecting", "connecting", page.header ? "" : "Waiting for the first picture"];
    return ["disconnected", "disconnected", "Disconnected. Trying again."];
  }
  if (page.isPaused) return ["paused", "paused", ""];
  const source = page.health?.source_state[page.header?.camera];
  if (source && source !== "live") return ["trouble", `camera ${source}`, `Camera ${source}`];
  if (!page.header) return ["live", "connected", "Waiting for the first picture"];
  if (performance.now() - page.lastPicture > STALE_MS) return ["trouble", "no new picture", ""];
  return ["live", "live", ""];
}

function setPaused(isPaused) {
  page.isPaused = isPaused;
  page.pausedAt = performance.now();
  setText("pause", isPaused ? "Resume" : "Pause");
  showStatus();
}

// ---- what the user does ----------------------------------------------------------------------------

function setPrompt(prompt) {
  const answer = $("answer");
  answer.className = "answer";
  answer.textContent = `asking for “${prompt}” …`;
  const index = page.header?.attention?.prompt_index ?? page.index;
  ask({ cmd: "set_prompt", prompt, index }, ({ ok, error }) => {
    answer.classList.add(ok ? "is-good" : "is-bad");
    answer.textContent = ok ? `now looking for “${prompt}”` : `refused: ${error}`;
    if (ok && $("prompt").value.trim() === prompt) $("prompt").value = "";
  });
}

function tell(cmd, then) {
  ask({ cmd }, ({ ok, error }) => {
    $("answer").className = ok ? "answer" : "answer is-bad";
    $("answer").textContent = ok ? "" : `refused: ${error}`;
    if (ok) then?.();
  });
}

function chooseView() {
  view.options = {
    opacity: $("opacity").value / 100,
    map: $("show-map").checked,
    targets: $("show-targets").checked,
    gaze: $("show-gaze").checked,
  };
  view.draw();
}

function listen() {
  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const prompt = $("prompt").value.trim();
    if (prompt) setPrompt(prompt);
  });
  $("free").addEventListener("click", () => setPrompt(FREE_VIEWING));
  $("pause").addEventListener("click", () => tell(page.isPaused ? "resume" : "pause", () => setPaused(!page.isPaused)));
  $("reset").addEventListener("click", () => tell("reset"));
  $("camera").addEventListener("change", ({ target }) => { page.camera = target.value; look(); target.blur(); });
  $("prompt-index").addEventListener("change", ({ target }) => { page.index = Number(target.value); look(); target.blur(); });
  for (const id of ["show-map", "opacity", "show-targets", "show-gaze"]) $(id).addEventListener("input", chooseView);
  document.addEventListener("visibilitychange", visibilityChanged);
  setInterval(showStatus, 1000);
}

// ---- words and numbers -----------------------------------------------------------------------------

const make = (tag, className = "") => Object.assign(document.createElement(tag), { className });
const sum = (counts) => Object.values(counts).reduce((total, count) => total + count, 0);
const number = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "–");
const milliseconds = (value) => number(value, value < 100 ? 1 : 0);

function setText(id, text) {
  if ($(id).textContent !== String(text)) $(id).textContent = text;
}

function duration(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

chooseView(); // a reloaded page keeps its switches
listen();
connect();
