"use strict";
/* Shows the data of the page, and follows a live one. Texts of others go in as text, never as markup. */
const $ = (id) => document.getElementById(id);
const read = (id) => JSON.parse($(id).textContent);
const data = read("data"), pictures = read("pictures");
const rows = new Map(), names = new Map(), waits = new Map();
let summary = data.summary, table = null, shownTiles = [], chosen = "";

const bytes = (count) => {
  let place = 0;
  for (; Math.abs(count) >= 1000 && place < 5; place += 1) count /= 1000;
  return `${count.toFixed(place && count < 100 ? 1 : 0)} ${["B", "kB", "MB", "GB", "TB", "PB"][place]}`;
};
const length = (seconds) => {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
};
const moment = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const precise = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const when = (seconds) => (seconds ? moment.format(seconds * 1000) : "");
const clock = (seconds) => precise.format(seconds * 1000);

/* An element with attributes and children; a text child stays text. */
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
};

const GROUPS = { attention: "needs you", working: "under way", waiting: "waiting", delivered: "delivered", review: "in review", training: "training", cancelled: "cancelled" };
const GROUP_OF = { pending: "waiting", creating: "working", uploading: "working", uploaded: "working", confirming: "working", submitting: "working",
  submitted: "review", in_review: "review", training: "training", trained: "delivered", review_failed: "attention", failed: "attention", cancelled: "cancelled" };
const groupOf = (row) => {
  if (waits.has(row.id)) return "attention";
  return GROUP_OF[row.state] ?? (summary.is_submit_wanted ? "working" : "delivered");
};
const stateOf = (row) => row.state.replace("_", " ");
const initials = (name) => [...name.trim()].slice(0, 2).join("").toUpperCase() || "?";

const take = (list) => {
  for (const values of list) {
    const row = Object.fromEntries(data.fields.map((field, place) => [field, values[place]]));
    rows.set(row.id, row);
    names.set(row.id, row.name);
  }
};
const takeAttention = (items) => {
  waits.clear();
  for (const item of items) waits.set(item.entry_id, item);
};

const fillPicture = (place, id) => {
  if (pictures[id]) {
    place.replaceChildren(make("img", { src: `data:image/jpeg;base64,${pictures[id]}`, alt: "", loading: "lazy", decoding: "async" }));
  } else place.textContent = initials(names.get(id) ?? id);
};
const fillPictures = (within) => {
  for (const place of within.querySelectorAll("[data-picture]")) fillPicture(place, place.dataset.picture);
};

const showHead = () => {
  const { run } = summary, share = summary.bytes ? Math.floor((100 * summary.stored) / summary.bytes) : 0;
  const under = [...rows.values()].filter((row) => groupOf(row) === "working").length;
  $("headline").replaceChildren(make("b", {}, String(summary.delivered)), ` of ${summary.entries} delivered`,
    ...(summary.waiting ? [" · ", make("b", { class: "needs" }, `${summary.waiting} need${summary.waiting === 1 ? "s" : ""} you`)] : []),
    ...(under ? [` · ${under} under way`] : []));
  const parts = [`${bytes(summary.stored)} of ${bytes(summary.bytes)}`];
  if (run?.state === "running") parts.push(summary.seconds_left ? `${length(summary.seconds_left)} left` : "running");
  else if (run) parts.push(run.state === "killed" ? `killed ${when(run.end)}` : `ended ${when(run.end)}, exit code ${run.exit_code}`);
  if (summary.process) {
    for (const outage of summary.now?.outages ?? []) parts.push(`waiting: ${outage.side} out (${outage.reason})`);
    const checked = summary.now?.checked;
    if (checked) parts.push(`checking ${checked.done}${checked.total ? ` of ${checked.total}` : ""} films`);
  }
  parts.push(`as of ${precise.format(summary.made_at * 1000)}`);
  $("state").dataset.facts = parts.join(" · ");
  showState();
  $("bar").setAttribute("aria-valuenow", String(share));
  $("bar").firstElementChild.style.width = `${share}%`;
  document.title = `${summary.batch}: ${summary.delivered} of ${summary.entries} delivered`;
};
let connection = "";
const showState = () => { $("state").textContent = [connection, $("state").dataset.facts].filter(Boolean).join(" · "); };

/* The wall: as many tiles as are in sight, the next ones when the last comes near. */
const TILES = 300;
const makeTile = (row) => {
  const group = groupOf(row), picture = make("span", { class: "picture", "aria-hidden": "true" });
  fillPicture(picture, row.id);
  const name = make("b", { dir: "auto" }, row.name);
  const tile = make("button", { type: "button", class: `tile ${group}`, tabindex: "-1", "aria-label": `${row.name}: ${GROUPS[group]}, ${stateOf(row)}`, title: row.name }, picture, name, make("small", {}, stateOf(row)));
  tile.dataset.open = row.id;
  return tile;
};
const more = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) growWall(); }, { root: $("tiles"), rootMargin: "800px" });
const growWall = () => {
  const next = shownTiles.splice(0, TILES).map(makeTile), wall = $("tiles");
  more.disconnect();
  wall.append(...next);
  if (wall.firstElementChild) wall.firstElementChild.tabIndex = 0;
  if (shownTiles.length) more.observe(wall.lastElementChild);
};
const ORDER = Object.keys(GROUPS);
const showWall = () => {
  const counts = Object.fromEntries(ORDER.map((group) => [group, 0])), all = [...rows.values()];
  for (const row of all) counts[groupOf(row)] += 1;
  const buttons = [["", `all ${all.length}`], ...ORDER.filter((group) => counts[group]).map((group) => [group, `${GROUPS[group]} ${counts[group]}`])];
  $("filters").replaceChildren(...buttons.map(([group, text]) => {
    const button = make("button", { type: "button", "aria-pressed": String(group === chosen), class: group }, ...(group ? [make("i", { class: "dot" })] : []), text);
    button.addEventListener("click", () => { chosen = group; showWall(); });
    return button;
  }));
  shownTiles = all.filter((row) => !chosen || groupOf(row) === chosen)
    .sort((one, other) => ORDER.indexOf(groupOf(one)) - ORDER.indexOf(groupOf(other)));
  $("tiles").replaceChildren();
  growWall();
};
$("tiles").addEventListener("keydown", (event) => {
  const tiles = [...$("tiles").children], at = tiles.indexOf(document.activeElement);
  if (at < 0) return;
  const across = Math.max(1, tiles.findIndex((tile) => tile.offsetTop > tiles[0].offsetTop));
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
  const next = step && tiles[at + step];
  if (!next) return;
  event.preventDefault();
  tiles[at].tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
});

const plain = (headings, lines, numbers = [], kind = "plain") => {
  if (!lines.length) return make("p", { class: "soft" }, "none");
  const cell = (tag, place, text) => make(tag, numbers.includes(place) ? { class: "n" } : { dir: "auto" }, String(text ?? ""));
  return make("table", { class: kind },
    make("thead", {}, make("tr", {}, ...headings.map((text, place) => cell("th", place, text)))),
    make("tbody", {}, ...lines.map((line) => make("tr", {}, ...line.map((text, place) => cell("td", place, text))))));
};

const showNight = (night) => {
  const outages = night.outages.map((outage) => [outage.start, when(outage.start), `${outage.side} out for ${length(outage.end - outage.start)}`, outage.reason]);
  const runs = night.runs.map((run, place) => [run.start, when(run.start), `run ${place + 1}, ${length(run.end - run.start)}`, run.state === "ended" ? `exit code ${run.exit_code}` : run.state]);
  $("runs").replaceChildren(plain(["when", "what", ""], [...outages, ...runs].sort((one, other) => one[0] - other[0]).map((line) => line.slice(1)), [], "plain when"));
  $("slowest").replaceChildren(plain(["avatar", "part", "size", "took", "tries"], night.slowest.map((part) => [names.get(part.entry_id) ?? part.entry_id, `${part.asset.replaceAll("_", " ")} ${part.part_number}`, bytes(part.length), length(part.took_seconds), part.attempts]), [2, 3, 4]));
  $("causes").replaceChildren(plain(["call", "why", "code", "times"], night.causes.map((cause) => [cause.operation, cause.kind, cause.code, cause.tries]), [3]));
  const sent = night.goodput.reduce((sum, rate) => sum + rate, 0) * night.bin_seconds, best = Math.max(0, ...night.goodput);
  $("night-words").replaceChildren(`${bytes(sent)} sent in ${night.runs.length} run${night.runs.length === 1 ? "" : "s"}, at most ${bytes(best)} per second; ${night.outages.length} outage${night.outages.length === 1 ? "" : "s"}.${night.is_coarse ? " Parts that touch are drawn as one." : ""}`, make("span", { class: "on-screen" }, " Drag or scroll to zoom in time, with Shift to zoom in on avatars."));
  $("legend").replaceChildren(...[...KINDS, "outage"].map((kind) => make("li", {}, Object.assign(make("i", { class: "dot" }), { style: `--c: var(--${kind})` }), kind)), make("li", {}, Object.assign(make("i", { class: "dot" }), { style: "--c: var(--needs)" }), "failed try"));
  whenSeen($("chart"), () => Night.show($("chart"), data.night, names));
};
/* Draw what is far down only once it comes near; later calls draw at once. */
const seenOnce = new Map();
const whenSeen = (element, draw) => {
  if (seenOnce.get(element) === true) { draw(); return; }
  const first = !seenOnce.has(element);
  seenOnce.set(element, draw);
  if (!first) return;
  const watcher = new IntersectionObserver((seen) => {
    if (!seen.some((one) => one.isIntersecting)) return;
    watcher.disconnect();
    const latest = seenOnce.get(element);
    seenOnce.set(element, true);
    latest();
  }, { rootMargin: "400px" });
  watcher.observe(element);
};

const days = (seconds) => (seconds < 86400 ? length(seconds) : `${(seconds / 86400).toFixed(1)} days`);
const showNumbers = () => {
  const { reviews, avatars } = summary, rate = reviews.first_pass_rate;
  const stats = [["delivered", `${summary.delivered} of ${summary.entries}`], ["passed the first review", rate === null ? "–" : `${Math.round(rate * 100)} %`], ["stored", bytes(summary.stored)], ["working time", length(summary.working_seconds)],
    ["per second of work", summary.working_seconds > 1 ? bytes(summary.stored / summary.working_seconds) : "–"], ["failed tries", String(data.night.causes.reduce((sum, cause) => sum + cause.tries, 0))]];
  if (avatars) stats.push([`from film to avatar, median of ${avatars.avatars}`, days(avatars.median_seconds)], [`the slowest, ${names.get(avatars.slowest_entry) ?? avatars.slowest_entry}`, days(avatars.slowest_seconds)]);
  $("stats").replaceChildren(...stats.map(([text, value]) => make("div", { class: "stat" }, make("b", {}, value), make("span", {}, text))));
  $("reasons").replaceChildren(plain(["reason", "code", "rule", "times"], reviews.reasons.map((one) => [one.reason, one.code, one.rule, one.count]), [3]));
  $("warnings").replaceChildren(plain(["avatar", "warning"], summary.warnings.map((one) => [one.entry ? names.get(one.entry) ?? one.entry : "", one.message])));
};

const command = (text) => make("div", { class: "command" }, make("code", {}, text), make("button", { type: "button", class: "copy", "data-copy": text }, "copy"));
const open = (id) => {
  const row = rows.get(id), wait = waits.get(id);
  if (!row) return;
  const facts = [["id", row.id], ["state", stateOf(row)], ["service says", row.service_state], ["stored", `${bytes(row.stored)} of ${bytes(row.bytes)}`], ["failed tries", row.tries || ""], ["job", row.job_id], ["delivered", row.delivered],
    ["started", when(row.started)], ["confirmed", when(row.finished)], ["why", row.error], ["code", row.code], ["request", row.request_id]].filter(([, value]) => value);
  const picture = make("div", { class: "picture" });
  fillPicture(picture, id);
  $("detail-title").textContent = row.name;
  $("detail-body").replaceChildren(picture, make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, String(value))])),
    ...(wait ? [make("p", {}, wait.hint ?? "Then:"), command(wait.command)] : []));
  $("detail").showModal();
};

const count = () => { $("shown").textContent = `${table.getDataCount("active")} of ${rows.size} avatars`; };
/* The part that scrolls can have the focus: it is the group of rows, and what is in it only layout. */
const nameParts = () => {
  const holder = $("grid").querySelector(".tabulator-tableholder");
  holder.setAttribute("role", "rowgroup");
  holder.setAttribute("aria-label", "Rows; arrow keys scroll");
  holder.firstElementChild.setAttribute("role", "presentation");
  $("grid").removeAttribute("aria-owns");
  $("grid").setAttribute("aria-label", "Avatars");
};
const showTable = () => whenSeen($("grid"), () => {
  const list = [...rows.values()];
  if (table) { table.updateOrAddData(list).then(count); return; }
  const text = (title, field, width, more = {}) => ({ title, field, width, headerFilter: "input", headerFilterParams: { elementAttributes: { "aria-label": `Filter ${title}` } }, ...more });
  const number = { sorter: "number", hozAlign: "right" };
  table = new Tabulator("#grid", {
    data: list, index: "id", height: Math.min(window.innerHeight * .75, 44 * (list.length + 3)), layout: "fitDataFill", renderVerticalBuffer: 150, placeholder: "no avatar fits", columnDefaults: { resizable: true },
    columns: [text("name", "name", 170, { frozen: window.innerWidth > 700 }), text("id", "id", 130), text("state", "state", 110, { formatter: (cell) => document.createTextNode(stateOf(cell.getData())) }), text("why", "error", 320), text("code", "code", 130),
      { title: "size", field: "bytes", width: 90, ...number, formatter: (cell) => bytes(cell.getValue()) }, { title: "stored", field: "stored", width: 90, ...number, formatter: (cell) => bytes(cell.getValue()) }, { title: "tries", field: "tries", width: 75, ...number },
      { title: "started", field: "started", width: 130, sorter: "number", formatter: (cell) => when(cell.getValue()) }, { title: "confirmed", field: "finished", width: 130, sorter: "number", formatter: (cell) => when(cell.getValue()) },
      text("service", "service_state", 160), text("job", "job_id", 230), text("delivered", "delivered", 130), text("request", "request_id", 230)],
  });
  table.on("rowClick", (_event, row) => open(row.getData().id));
  table.on("dataFiltered", (_filters, found) => { $("shown").textContent = `${found.length} of ${rows.size} avatars`; });
  table.on("tableBuilt", () => { nameParts(); count(); });
});
$("find").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  table?.setFilter((row) => !wanted || [row.id, row.name, row.state, row.error, row.code, row.job_id, row.request_id].some((value) => value && String(value).toLowerCase().includes(wanted)));
});
/* A spreadsheet takes a cell that begins so for a formula. */
const cellOf = (value) => {
  const text = String(value ?? ""), safe = /^[=+\-@\t\r]/.test(text) && typeof value !== "number" ? `'${text}` : text;
  return /[",;\r\n|]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
$("csv").addEventListener("click", () => {
  const list = table ? table.getData("active") : [...rows.values()];
  const lines = [data.fields, ...list.map((row) => data.fields.map((field) => row[field]))].map((line) => line.map(cellOf).join(","));
  const link = make("a", { href: URL.createObjectURL(new Blob([`\ufeff${lines.join("\r\n")}\r\n`], { type: "text/csv" })), download: `${summary.batch}.csv` });
  link.click();
  URL.revokeObjectURL(link.href);
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]"), copier = event.target.closest("[data-copy]");
  if (opener) open(opener.dataset.open);
  if (copier) copy(copier);
});
const copy = async (button) => {
  try { await navigator.clipboard.writeText(button.dataset.copy); } catch {
    /* From a file:// page some browsers give no clipboard: select it instead. */
    getSelection().selectAllChildren(button.previousElementSibling);
    return;
  }
  button.textContent = "copied";
  setTimeout(() => { button.textContent = "copy"; }, 1500);
};
document.addEventListener("keydown", (event) => {
  const step = { j: 1, k: -1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
  const cards = [...document.querySelectorAll(".card")].filter((card) => card.offsetParent), at = cards.indexOf(document.activeElement);
  cards[Math.min(cards.length - 1, Math.max(0, at + step))]?.focus();
});
$("zoom-all").addEventListener("click", () => Night.zoom(data.night.start * 1000, data.night.end * 1000));
$("zoom-last").addEventListener("click", () => { const run = data.night.runs.at(-1); if (run) Night.zoom(run.start * 1000, run.end * 1000); });
/* Paper has what the screen draws only once it is scrolled to, and the chart in light colours and the paper's width. */
window.addEventListener("beforeprint", () => {
  while (shownTiles.length) growWall();
  const picture = Night.onPaper(data.night, names);
  $("chart-on-paper").hidden = !picture;
  if (picture) $("chart-on-paper").src = picture;
});
window.addEventListener("afterprint", () => { $("chart-on-paper").hidden = true; });

/* A dozen says what kind of day it is; the others are a button away. */
const showCards = () => {
  const count = waits.size;
  fillPictures($("cards"));
  $("all-cards").hidden = count <= 12 || !$("cards").classList.contains("few");
  $("all-cards").textContent = `show all ${count}`;
};
$("all-cards").addEventListener("click", () => { $("cards").classList.remove("few"); showCards(); document.querySelectorAll(".card")[12]?.focus(); });

const showAll = () => { showHead(); showCards(); showWall(); showNight(data.night); showNumbers(); showTable(); };
take(data.rows);
takeAttention(data.attention);
showAll();

/* A live page gets the parts that changed; after a break, all of them. */
const change = (parts) => {
  Object.assign(pictures, parts.pictures ?? {});
  if (parts.is_whole) { rows.clear(); names.clear(); }
  if (parts.rows) take(parts.rows);
  if (parts.summary) summary = data.summary = parts.summary;
  if (parts.night) data.night = parts.night;
  if (parts.attention) { takeAttention(parts.attention); $("cards").innerHTML = parts.cards; showCards(); }
  showHead();
  if (parts.rows || parts.attention) showWall();
  if (parts.rows) showTable();
  if (parts.night) showNight(data.night);
  showNumbers();
};
if (data.stream) {
  const stream = new EventSource(data.stream), tell = (text) => { connection = text; showState(); };
  stream.addEventListener("open", () => tell("live"));
  stream.addEventListener("error", () => tell("connection lost, trying again"));
  stream.addEventListener("change", (event) => change(JSON.parse(event.data)));
}
