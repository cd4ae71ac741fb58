// Keeps a community's page up to date with the server's events. Every row and state is applied by its key, so a
// snapshot, an update and a repeated update all end in the same page.
"use strict";

const body = document.body;
const list = document.querySelector("[data-passages]");
const template = document.getElementById("passage-template");
const liveStatus = document.querySelector("[data-testid=live-status]");
const STATUS = { free: "Free", occupied: "Occupied", unknown: "Unknown" };
const DECISION = { granted: "Granted", denied: "Denied" };
const PASSED = { entry: "in", exit: "out" };
const RETRY_MS = 3000;

function showLive(state, text) {
  if (liveStatus.dataset.state === state) return;
  liveStatus.dataset.state = state;
  liveStatus.querySelector("[data-live-text]").textContent = text;
}

function passageRow(row) {
  const item = template.content.firstElementChild.cloneNode(true);
  Object.assign(item.dataset, { id: row.id, at: row.at, plate: row.plate, decision: row.decision, opened: row.opened });
  item.querySelector("time").textContent = row.time;
  item.querySelector(".passage-day").textContent = row.day === body.dataset.today ? "" : row.day;
  item.querySelector(".plate").textContent = row.plate || "—";
  const [gate, direction] = item.querySelector(".passage-gate").children;
  gate.textContent = row.gate;
  direction.textContent = `· ${PASSED[row.direction]}`;
  const chip = item.querySelector(".chip");
  chip.classList.add(row.decision === "granted" ? "good" : "bad");
  chip.textContent = DECISION[row.decision];
  item.querySelector(".passage-reason").textContent = row.reason;
  item.classList.add("fresh");
  return item;
}

function addPassages(rows) {
  const known = new Set(Array.from(list.children, (item) => item.dataset.id));
  for (const row of rows) {
    if (known.has(String(row.id))) continue;
    const older = Array.from(list.children).find(
      (item) => Number(item.dataset.at) < row.at || (Number(item.dataset.at) === row.at && Number(item.dataset.id) < row.id)
    );
    list.insertBefore(passageRow(row), older || null);
  }
  while (list.children.length > Number(body.dataset.rows)) list.lastElementChild.remove();
  document.querySelector("[data-empty]").hidden = list.children.length > 0;
}

function setSpaces(spaces) {
  for (const space of spaces) {
    const tile = document.querySelector(`[data-space="${CSS.escape(space.name)}"]`);
    if (!tile || tile.dataset.status === space.status) continue;
    tile.classList.remove(tile.dataset.status);
    tile.classList.add(space.status);
    tile.dataset.status = space.status;
    tile.querySelector(".tile-status").textContent = STATUS[space.status];
  }
  for (const status of Object.keys(STATUS)) {
    document.querySelector(`[data-count="${status}"]`).textContent =
      document.querySelectorAll(`[data-space][data-status="${status}"]`).length;
  }
}

function setGateways(gateways) {
  for (const gateway of gateways) {
    const figure = document.querySelector(`[data-gateway="${CSS.escape(gateway.name)}"]`);
    if (figure) figure.dataset.seen = gateway.seen === null ? "" : gateway.seen;
  }
  tellAges();
}

function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 10) return "seen just now";
  if (seconds < 60) return `seen ${seconds - (seconds % 5)} s ago`;
  if (seconds < 3600) return `seen ${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `seen ${Math.floor(seconds / 3600)} h ago`;
  return `seen ${Math.floor(seconds / 86400)} d ago`;
}

function tellAges() {
  let online = 0;
  const figures = document.querySelectorAll("[data-gateway]");
  for (const figure of figures) {
    const age = figure.dataset.seen ? Date.now() - Number(figure.dataset.seen) : null;
    const isOnline = age !== null && age < Number(body.dataset.onlineMs);
    online += isOnline ? 1 : 0;
    figure.dataset.online = String(isOnline);
    const chip = figure.querySelector("[data-gateway-state]");
    chip.textContent = isOnline ? "Online" : "Offline";
    chip.className = `chip ${isOnline ? "good" : "bad"}`;
    figure.querySelector("[data-gateway-seen]").textContent = age === null ? "never seen" : ago(age);
  }
  document.querySelector("[data-stale]").hidden = online > 0 || figures.length === 0;
}

async function reconnect() {
  // A browser gives up on a stream that answered with an error: look whether we are still signed in, then try again.
  try {
    const answer = await fetch("/api/v1/sessions/current", { headers: { Accept: "application/json" } });
    if (answer.status === 401) {
      location.reload();
      return;
    }
  } catch {
    // The server is away: try later.
  }
  setTimeout(connect, RETRY_MS * (0.5 + Math.random()));
}

function connect() {
  const source = new EventSource(body.dataset.stream);
  source.addEventListener("open", () => showLive("live", "Live"));
  source.addEventListener("update", (event) => {
    const update = JSON.parse(event.data);
    if (update.passages) addPassages(update.passages);
    if (update.spaces) setSpaces(update.spaces);
    if (update.gateways) setGateways(update.gateways);
  });
  source.addEventListener("error", () => {
    showLive("waiting", "Reconnecting…");
    if (source.readyState === EventSource.CLOSED) {
      source.close();
      reconnect();
    }
  });
}

tellAges();
setInterval(tellAges, 5000);
connect();
