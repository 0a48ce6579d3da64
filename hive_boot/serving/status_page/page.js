// Reads boot.json, shows it, and refreshes. Text reaches the document as text nodes only, so a
// name that contains markup is shown as it is.
"use strict";

const MOST = { steps: 200, waitsFor: 5, components: 500, secrets: 500, rotations: 50, reasons: 50, names: 10 };

const RETRY_INTERVAL = 2; // seconds, while the application does not respond
const REQUEST_TIMEOUT = 10;

// fetch() refuses a URL with a user and a password, which a page that was opened with them has.
const STATUS_URL = new URL("boot.json", location.origin + location.pathname);

const EXPIRES_SOON = 14 * 86400; // seconds

const STARTING = ["armed", "loading", "starting"];
const SERVING = ["ready", "reloading"];
const STOPPING = ["draining", "stopping"];

const STEP_COLORS = { done: "good", running: "busy", failed: "bad", overdue: "bad" };
const ROTATION_COLORS = { accepted: "good", refused: "bad", "in-use": "busy" };
const ICON_COLORS = { good: "#2e9c5b", busy: "#3b86d1", warn: "#d99a1c", bad: "#cf3346" };

const WATCHERS = {
  inotify: "kernel events",
  poll: "a read every 2 s",
  down: "changes are not noticed",
  off: "changes are not watched",
};

// Texts

function formatDuration(seconds) {
  const exact = Math.max(seconds, 0);
  // A number that would be rounded up to the next unit is shown in that unit.
  if (exact < 0.9995) return `${Math.round(exact * 1000)} ms`;
  if (exact < 9.95) return `${exact.toFixed(1)} s`;
  const whole = Math.round(exact);
  for (const [size, unit, part, smaller] of [
    [86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"],
  ]) {
    if (whole >= size) {
      const rest = Math.floor((whole % size) / part);
      return `${Math.floor(whole / size)} ${unit}` + (rest ? ` ${rest} ${smaller}` : "");
    }
  }
  return `${whole} s`;
}

function formatTime(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

function overallStatus(status) {
  if (status.failed) return ["bad", `${status.state}, failed`];
  if (STARTING.includes(status.state)) return ["busy", status.state];
  if (!status.ready) {
    return SERVING.includes(status.state) ? ["bad", `${status.state}, unready`] : ["", status.state];
  }
  return status.degraded ? ["warn", `${status.state}, degraded`] : ["good", status.state];
}

// Elements

function element(name, attributes, ...children) {
  const created = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) created.setAttribute(key, value);
  created.append(...children);
  return created;
}

// Long names may continue on the next line after "_" and "/".
function breakable(text) {
  const parts = text.match(/[^_/]*[_/]|[^_/]+/g) ?? [];
  return parts.flatMap((part) => (/[_/]$/.test(part) ? [part, element("wbr", {})] : [part]));
}

function small(...children) {
  return element("small", {}, ...children);
}

function code(text) {
  return element("code", {}, ...breakable(text));
}

function badge(color, text) {
  return element("span", { class: `badge ${color}`.trim() }, text);
}

function spaced(nodes) {
  return nodes.flatMap((node, index) => (index ? [" ", node] : [node]));
}

function notice(color, title, lines) {
  return element("section", { class: `notice ${color}` },
    element("h2", {}, title),
    element("ul", {}, ...lines.map((line) => element("li", {}, ...breakable(line)))));
}

// A table that CSS lays out as cards loses its roles, so they are set explicitly.
function tableRow(head, ...cells) {
  return element("tr", { role: "row" },
    element("th", { scope: "row", role: "rowheader" }, ...head),
    ...cells.map(([label, layout, ...content]) =>
      element("td", { role: "cell", class: layout, "data-label": label }, ...content)));
}

// Changes only the nodes that differ: scroll position, focus and selection stay.
function update(old, fresh) {
  if (old.nodeName !== fresh.nodeName) {
    old.replaceWith(fresh);
  } else if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else {
    // The policy forbids style attributes; style properties are allowed.
    if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
    for (const { name } of [...old.attributes]) {
      if (name !== "style" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    updateChildren(old, [...fresh.childNodes]);
  }
}

function updateChildren(parent, fresh) {
  const old = [...parent.childNodes];
  fresh.forEach((node, index) => (old[index] ? update(old[index], node) : parent.append(node)));
  old.slice(fresh.length).forEach((node) => node.remove());
}

function fill(id, ...nodes) {
  const texts = nodes.map((node) => (node instanceof Node ? node : new Text(node)));
  updateChildren(document.getElementById(id), texts.filter((node) => node.data !== ""));
}

function setHidden(id, hidden) {
  document.getElementById(id).hidden = hidden;
}

// Timeline. A service runs for weeks after a start of one second, so the start, the time since
// and the stop have a scale each.

function timelineCharts(status) {
  const steps = status.timeline;
  const now = steps.reduce((last, step) => Math.max(last, step.end ?? step.start), status.uptime);
  const isStop = (step) => step.kind === "stop" || STOPPING.includes(step.name);
  const stop = steps.filter(isStop);
  const others = steps.filter((step) => !isStop(step));
  const over = status.started ? endOfStart(others) : now;
  const stopBegin = Math.min(...stop.map((step) => step.start));
  return [
    chart("start", "Start", others.filter((step) => step.start <= over), 0, over, now),
    chart("since", "Since the start, the newest first",
      others.filter((step) => step.start > over).reverse(), over, now, now),
    chart("stop", "Stop", stop, stopBegin, now, now),
  ].filter((each) => each.rows.length);
}

function endOfStart(steps) {
  const ended = steps.filter((step) => step.end !== null);
  const phases = ended.filter((step) => ["loading", "starting"].includes(step.name));
  const resources = ended.filter((step) => step.kind === "resource");
  return Math.max(0, ...(phases.length ? phases : resources).map((step) => step.end));
}

function chart(id, title, steps, begin, end, now) {
  const length = end - begin;
  const isDone = (step) => step.outcome === "done";
  // Of too many steps those that are running or failed are shown first.
  const shown = steps.length <= MOST.steps ? steps
    : [...steps].sort((a, b) => isDone(a) - isDone(b)).slice(0, MOST.steps);
  const share = (moment) =>
    length > 0 ? Math.min(Math.max(((moment - begin) / length) * 100, 0), 100) : 0;
  return {
    id, title, length,
    hidden: steps.length - shown.length,
    hiddenDone: steps.filter(isDone).length - shown.filter(isDone).length,
    rows: shown.map((step) => {
      const [left, right] = [share(step.start), share(step.end ?? now)];
      const waits = step.outcome === "waiting" ? step.waits_for : [];
      const more = waits.length - MOST.waitsFor;
      return {
        name: step.name, kind: step.kind, outcome: step.outcome, open: step.end === null,
        left: Math.min(left, 99), width: right - left,
        when: `at ${formatDuration(step.start - begin)}, `
          + `${step.end === null ? "for" : "took"} ${formatDuration((step.end ?? now) - step.start)}`
          + (waits.length ? `, waits for ${waits.slice(0, MOST.waitsFor).join(", ")}` : "")
          + (more > 0 ? ` and ${more} more` : ""),
      };
    }),
  };
}

function chartSection({ id, title, length, hidden, hiddenDone, rows }) {
  const ends = [0, 0.5, 1].map((part) => element("span", {}, formatDuration(length * part)));
  const section = element("section", { "aria-labelledby": id },
    element("h2", { id }, `${title} `, small(formatDuration(length))),
    element("div", { class: "axis", "aria-hidden": "true" },
      element("span", { class: "scale" }, ...ends)),
    element("ol", { class: "steps", role: "list" }, ...rows.map(stepItem)));
  if (hidden) {
    section.append(element("p", { class: "soft" },
      `${hidden} more steps are not shown; ${hiddenDone} of them are done.`));
  }
  return section;
}

function stepItem({ name, kind, outcome, open, left, width, when }) {
  const bar = element("i", {});
  bar.style.left = `${left.toFixed(2)}%`;
  bar.style.width = `${width.toFixed(2)}%`;
  return element("li", { class: open ? `${outcome} open` : outcome },
    element("span", { class: "what" }, element("b", {}, ...breakable(name)), " ", small(kind)),
    element("span", { class: "bar", "aria-hidden": "true" }, bar),
    element("span", { class: "outcome" }, badge(STEP_COLORS[outcome] ?? "", outcome)),
    element("span", { class: "when" }, ...breakable(when)));
}

// Sections of the page

function notices(status) {
  const shown = [];
  if (status.failed) {
    shown.push(notice("bad", "Failed", [`${status.failed} has failed: the application ends.`]));
  }
  if (status.degraded) {
    const reasons = status.reasons.slice(0, MOST.reasons);
    const more = status.reasons.length - reasons.length;
    const refused = status.rejected && status.rotations.find((each) => each.verdict === "refused");
    const texts = more ? [...reasons, `${more} more reasons`] : reasons;
    shown.push(notice("warn", "Degraded", refused ? [...texts, refused.reason] : texts));
  }
  if (status.forked) {
    shown.push(notice("busy", "Forked", [
      "This process was forked from the one that started the application: "
        + "it keeps the secrets of that moment and watches nothing.",
    ]));
  }
  return shown;
}

function facts(status) {
  const ago = (at) =>
    at ? [`${formatDuration(status.time - at)} ago`, formatTime(at)] : ["never", ""];
  return [
    ["Ready", status.ready ? "yes" : "no", ""],
    ["Version", status.version || "unknown", ""],
    ["Host", status.process.host, status.process.pod && `pod ${status.process.pod}`],
    ["Process", String(status.process.pid), status.process_id],
    ["Up for", formatDuration(status.uptime), ""],
    ["Generation", String(status.generation || "none yet"), ""],
    ...(status.secrets_version === null ? [] : [["Secrets version",
      status.secrets_version || "unknown", status.secrets_version === status.secrets_version_in_use
        ? "" : `${status.secrets_version_in_use || "unknown"} in use`]]),
    ["Last change", ...ago(status.last_change)],
    ["Last good read", ...ago(status.last_read)],
    ["Watcher", status.watcher, WATCHERS[status.watcher] ?? ""],
    ["Mode", status.mode || "not detected", status.mode_reason],
    ["Profile", status.profile || "not detected", status.profile_reason],
  ].map(([label, value, detail]) =>
    element("div", {},
      element("dt", {}, ...breakable(label)),
      element("dd", {}, value, ...(detail ? [small(...breakable(detail))] : []))));
}

// Each component is [name, kind, colour, state, last result, details].

function components(status) {
  return [...checks(status), ...services(status), ...hooks(status), ...contributors(status),
    ...certificates(status)];
}

function checks(status) {
  const runs = status.timeline.filter((step) => step.kind === "check");
  const latest = new Map(runs.map((step) => [step.name, step]));
  return [...latest.values()].map(({ name, outcome, end }) =>
    [name, "check", STEP_COLORS[outcome] ?? "", outcome === "done" ? "passed" : outcome,
      end === null ? "" : `${formatDuration(status.uptime - end)} ago`, ""]);
}

function services(status) {
  return status.services.map((name) => {
    const restarts = status.service_restarts[name] ?? 0;
    let state = ["busy", "not started"];
    if (status.completed_services.includes(name)) state = ["", "returned"];
    else if (status.failing_services.includes(name)) state = ["bad", "failing"];
    else if (status.started) state = ["good", "running"];
    return [name, "service", ...state, "", restarts === 1 ? "1 restart" : `${restarts} restarts`];
  });
}

function hooks(status) {
  return status.hooks.map(({ name, at, failure, failures }) => {
    const state = failure ? ["bad", "failing"] : at ? ["good", "succeeded"] : ["", "not called"];
    return [name, "hook", ...state, at ? `${formatDuration(status.time - at)} ago` : "",
      [failure, failures && `failed calls: ${failures}`].filter(Boolean).join("; ")];
  });
}

function contributors(status) {
  return status.contributors.map(({ name, passing, failure, age }) => {
    const state = passing ? ["good", "passes"] : failure ? ["bad", "fails"] : ["busy", "not passed yet"];
    return [name, "readiness", ...state, age === null ? "" : `${formatDuration(age)} ago`, failure];
  });
}

function certificates(status) {
  return Object.entries(status.certificates).map(([name, at]) => {
    const left = at - status.time;
    const state = left < 0 ? ["bad", "expired"]
      : left < EXPIRES_SOON ? ["warn", "expires soon"] : ["good", "valid"];
    const distance = left < 0 ? `${formatDuration(-left)} ago` : `in ${formatDuration(left)}`;
    return [name, "certificate", ...state, "", `expires ${formatTime(at)}, ${distance}`];
  });
}

function componentRow([name, kind, color, state, result, details]) {
  return tableRow(
    [...breakable(name), small(kind)],
    ["State", "plain", badge(color, state)],
    ["Last result", "", ...(result ? [result] : [])],
    ["Details", "wide plain", ...breakable(details)]);
}

function secretRow(secret, status) {
  const { name, attribute, present, required, place } = secret;
  const notes = [];
  if (secret.due !== null) {
    notes.push(badge("busy", `newer value in ${formatDuration(secret.due)}`));
  }
  if (place && status.stale.includes(place)) {
    notes.push(badge("bad", "stale mount: restart"));
  } else if (place && status.pinned.includes(place)) {
    notes.push(badge("", "pinned mount"));
  }
  if ([name, attribute].some((each) => status.rejected_names.includes(each))) {
    notes.push(badge("bad", "newest value rejected"));
  }
  if (status.certificates[name]) {
    const left = status.certificates[name] - status.time;
    notes.push(left < 0 ? badge("bad", "certificate expired")
      : badge("", `certificate valid for ${formatDuration(left)}`));
  }
  return tableRow(
    [code(name), ...(secret.used_by ? [small(secret.used_by)] : [])],
    ["State", "wide plain",
      present ? badge("good", "present") : badge(required ? "bad" : "", "absent"),
      required ? " required" : " optional"],
    ["Source", "wide", ...(secret.source ? [secret.source] : []),
      ...(place ? [small(code(place))] : [])],
    ["In use for", "", ...(present ? [formatDuration(secret.age)] : [])],
    ["Generation", "", ...(present ? [String(secret.generation)] : [])],
    ["Notes", "wide plain", ...spaced(notes)]);
}

function rotationRow(rotation, status) {
  const names = rotation.names.slice(0, MOST.names);
  const more = rotation.names.length - names.length;
  return tableRow(
    [`${formatDuration(status.time - rotation.at)} ago`, small(formatTime(rotation.at))],
    ["Result", "wide plain", badge(ROTATION_COLORS[rotation.verdict] ?? "", rotation.verdict)],
    ["Secrets", "wide plain", ...spaced(names.map(code)), ...(more ? [` and ${more} more`] : []),
      ...(rotation.reason ? [small(...breakable(rotation.reason))] : [])],
    ["Generation", "", String(rotation.generation ?? "candidate")],
    ["Took", "", formatDuration(rotation.duration)]);
}

function fillTable(id, items, row, status) {
  const shown = items.slice(0, MOST[id]);
  const more = items.length - shown.length;
  setHidden(`no-${id}`, items.length > 0);
  setHidden(`${id}-table`, items.length === 0);
  setHidden(`${id}-more`, more === 0);
  fill(`${id}-rows`, ...shown.map((item) => row(item, status)));
  fill(`${id}-more`, `${more} more ${id} are not shown.`);
}

function showState(name, color, text) {
  document.title = `${text}: ${name}`;
  // The state is announced when it changes, so equal text is not written again.
  const state = document.getElementById("state");
  state.className = `badge ${color}`.trim();
  fill("state", text);
  const dot = `<circle cx="8" cy="8" r="7" fill="${ICON_COLORS[color] ?? "#8d97a1"}"/>`;
  document.querySelector("link[rel=icon]").href = `data:image/svg+xml,${encodeURIComponent(
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">${dot}</svg>`)}`;
}

function show(status) {
  fill("name", status.name);
  showState(status.name, ...overallStatus(status));
  fill("notices", ...notices(status));
  fill("facts", ...facts(status));
  fill("timeline", ...timelineCharts(status).map(chartSection));
  const present = status.secrets.filter((secret) => secret.present).length;
  fill("secrets-caption", `${present} of ${status.secrets.length} declared secrets are present.`);
  fillTable("components", components(status), componentRow, status);
  fillTable("secrets", status.secrets, secretRow, status);
  fillTable("rotations", status.rotations, rotationRow, status);
  fill("time", `Status of ${formatTime(status.time)}, `
    + `refreshed every ${status.refresh_interval} s. hive_boot ${status.process.hive_boot}.`);
  fill("connection");
  setHidden("content", false);
}

function showUnreachable(reason) {
  const lines = [
    `No status from the application: ${reason}.`,
    `This page tries again every ${RETRY_INTERVAL} s.`,
  ];
  if (last) lines.push(`The status below is from ${formatTime(last.time)}.`);
  fill("connection", notice("bad", "Not reachable", lines));
  showState(last?.name ?? "Status page", "bad", "not reachable");
}

// Refreshing

let last = null;
let isRefreshing = false;
let timer = 0;

async function refresh() {
  if (isRefreshing) return;
  isRefreshing = true;
  clearTimeout(timer);
  let interval = RETRY_INTERVAL;
  try {
    const signal = AbortSignal.timeout(REQUEST_TIMEOUT * 1000);
    const response = await fetch(STATUS_URL, { cache: "no-store", signal });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    const status = await response.json();
    show(status);
    last = status;
    interval = Math.max(status.refresh_interval, 0.05);
  } catch (error) {
    showUnreachable(error.message.replace(/\.$/, ""));
  }
  isRefreshing = false;
  // A tab in the background refreshes when it is seen again.
  if (!document.hidden) timer = setTimeout(refresh, interval * 1000);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else refresh();
});
refresh();
