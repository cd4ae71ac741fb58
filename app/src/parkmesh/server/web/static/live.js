// Keeps a community's page up to date with the server's events. Every row and state is applied by its key, so a
// snapshot, an update and a repeated update all end in the same page.
"use strict";

const body = document.body;
const settings = JSON.parse(body.dataset.stream);
const list = document.querySelector("[data-passages]");
const template = document.getElementById("passage-template");
const liveStatus = document.querySelector("[data-testid=live-status]");
const RETRY_MS = 3000;
const words = settings.words;
const lastSeen = new Map(Object.entries(settings.seen));
let connected = false;
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: settings.zone, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const locale = settings.language === "en" ? "en-GB" : settings.language;
const day = new Intl.DateTimeFormat(locale, { timeZone: settings.zone, day: "numeric", month: "short", year: "numeric" });
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "always" });

function showLive(state, text) {
  if (liveStatus.dataset.state === state) return;
  liveStatus.dataset.state = state;
  liveStatus.querySelector("[data-live-text]").textContent = text;
}

function reason(row) {
  const text = words.reason[row.cause] || row.reason;
  return row.decision === "granted" && row.opened === false ? `${text}. ${words.notConfirmed}` : text;
}

function passageRow(row) {
  const item = template.content.firstElementChild.cloneNode(true);
  Object.assign(item.dataset, { id: row.id, at: row.at, plate: row.plate, decision: row.decision, opened: row.opened });
  const moment = new Date(row.at);
  const time = item.querySelector("time");
  time.textContent = clock.format(moment);
  time.dateTime = moment.toISOString();
  item.querySelector(".passage-day").textContent = day.format(moment) === day.format(new Date()) ? "" : day.format(moment);
  item.querySelector(".plate").textContent = row.shown || row.plate || "—";
  const [gate, direction] = item.querySelector(".passage-gate").children;
  gate.textContent = row.gate;
  direction.textContent = `· ${words.passed[row.direction]}`;
  const chip = item.querySelector(".chip");
  chip.classList.add(row.decision !== "granted" ? "bad" : row.opened === false ? "warn" : "good");
  chip.textContent = words.decision[row.decision];
  item.querySelector(".passage-reason").textContent = reason(row);
  item.classList.add("fresh");
  return item;
}

function addPassages(rows) {
  if (!list) return;
  const known = new Set(Array.from(list.children, (item) => item.dataset.id));
  for (const row of rows) {
    if (known.has(String(row.id))) continue;
    const older = Array.from(list.children).find(
      (item) => Number(item.dataset.at) < row.at || (Number(item.dataset.at) === row.at && Number(item.dataset.id) < row.id)
    );
    list.insertBefore(passageRow(row), older || null);
  }
  while (list.children.length > settings.rows) list.lastElementChild.remove();
  document.querySelector("[data-empty]").hidden = list.children.length > 0;
}

function setSpaces(spaces) {
  for (const space of spaces) {
    const tile = document.querySelector(`[data-space="${CSS.escape(space.name)}"]`);
    if (!tile || tile.dataset.status === space.status) continue;
    tile.classList.remove(tile.dataset.status);
    tile.classList.add(space.status);
    tile.dataset.status = space.status;
    tile.querySelector("[data-status-text]").textContent = words.status[space.status];
  }
  for (const count of document.querySelectorAll("[data-count]")) {
    const level = count.closest("[data-level]") || document;
    count.textContent = level.querySelectorAll(`[data-space][data-status="${count.dataset.count}"]`).length;
  }
}

function setGateways(gateways) {
  lastSeen.clear();
  for (const gateway of gateways) {
    lastSeen.set(gateway.name, gateway.seen);
    const figure = document.querySelector(`[data-gateway="${CSS.escape(gateway.name)}"]`);
    if (figure) figure.dataset.seen = gateway.seen === null ? "" : gateway.seen;
  }
  tellAges();
}

function ago(ms) {
  const seconds = Math.max(1, Math.round(ms / 1000));
  if (seconds < 60) return relative.format(-(seconds < 10 ? seconds : seconds - (seconds % 5)), "second");
  if (seconds < 3600) return relative.format(-Math.floor(seconds / 60), "minute");
  if (seconds < 86400) return relative.format(-Math.floor(seconds / 3600), "hour");
  return relative.format(-Math.floor(seconds / 86400), "day");
}

function tellAges() {
  const figures = document.querySelectorAll("[data-gateway]");
  for (const figure of figures) {
    const age = figure.dataset.seen ? Date.now() - Number(figure.dataset.seen) : null;
    const isOnline = age !== null && age < settings.onlineMs;
    figure.dataset.online = String(isOnline);
    const chip = figure.querySelector("[data-gateway-state]");
    chip.textContent = isOnline ? words.online : words.offline;
    chip.className = `chip ${isOnline ? "good" : "bad"}`;
    figure.querySelector("[data-gateway-seen]").textContent = age === null ? words.never : ago(age);
  }
  tellLive();
}

// Live means that a gateway is heard, not that this browser hears the server.
function tellLive() {
  const heard = Array.from(lastSeen.values()).some((seen) => seen !== null && Date.now() - seen < settings.onlineMs);
  const stale = document.querySelector("[data-stale]");
  if (stale) stale.hidden = heard || lastSeen.size === 0;
  if (!connected) return;
  if (heard || lastSeen.size === 0) showLive("live", words.live);
  else showLive("silent", words.silent);
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
  const source = new EventSource(settings.address);
  source.addEventListener("open", () => {
    connected = true;
    tellLive();
  });
  source.addEventListener("update", (event) => {
    const update = JSON.parse(event.data);
    if (update.passages) addPassages(update.passages);
    if (update.spaces) setSpaces(update.spaces);
    if (update.gateways) setGateways(update.gateways);
  });
  source.addEventListener("error", () => {
    connected = false;
    showLive("waiting", words.waiting);
    if (source.readyState === EventSource.CLOSED) {
      source.close();
      reconnect();
    }
  });
}

tellAges();
setInterval(tellAges, 5000);
connect();
