"use strict";
const $ = (id) => document.getElementById(id);
const KEYS = { 1: "left", ArrowLeft: "left", 2: "right", ArrowRight: "right", t: "tie", s: "skip", u: "undo" };
// What has no picture of its own, or would change how its neighbors read: named instead of obeyed.
const CONTROLS = /([\0-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}])\1*/gu;
let state = null, since = 0, busy = false;

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function show(place, text) {
  const parts = [];
  let end = 0;
  text = text.replace(/\r\n/g, "\n");
  for (const found of text.matchAll(CONTROLS)) {
    const times = found[0].length / found[1].length;
    const code = "U+" + found[1].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.push(text.slice(end, found.index), element("span", times > 1 ? `${code} ×${times}` : code, "control"));
    end = found.index + found[0].length;
  }
  parts.push(text.slice(end));
  place.replaceChildren(...parts);
  if (!text.trim()) place.replaceChildren(element("span", text ? "only white space" : "an empty response", "nothing"));
  place.scrollTop = place.scrollLeft = 0;
}

function showPrompt(messages) {
  $("prompt").replaceChildren(...messages.map((message) => {
    const turn = element("div", undefined, "turn"), content = element("div", undefined, "content");
    content.dir = "auto";
    show(content, message.content);
    turn.append(element("span", message.role, "role"), content);
    return turn;
  }));
  $("prompt").scrollTop = 0;
}

function render(next) {
  state = next;
  const { duel, total, done, skipped } = state;
  $("voter").textContent = ` · ${state.voter}`;
  $("count").textContent = duel ? `Pair ${done + 1} of ${total}` + (skipped ? `, ${skipped} skipped` : "") : `All ${total} pairs are done`;
  $("bar").max = Math.max(total, 1);
  $("bar").value = done;
  $("duel").hidden = $("votes").hidden = !duel;
  $("end").hidden = Boolean(duel);
  $("undo").disabled = $("end-undo").disabled = !state.can_undo;
  if (duel) {
    showPrompt(duel.messages);
    for (const side of ["left", "right"]) {
      show($(side), duel[side].text);
      $(`cut-${side}`).hidden = !duel[side].cut;
    }
    window.scrollTo(0, 0);
    since = performance.now();
  } else {
    renderEnd();
  }
}

function renderEnd() {
  const { result, skipped, done } = state;
  $("end-title").textContent = result ? "The result" : "All pairs are done. Thank you.";
  $("end-text").textContent = result ? "" : `${done - skipped} votes` + (skipped ? ` and ${skipped} skipped. ` : ". ") +
    "The models are named with the result; from then on the votes stand.";
  $("end-actions").hidden = Boolean(result);
  $("again").hidden = !skipped;
  $("result").replaceChildren(...(result ? renderResult(result) : []));
  $("end-title").focus();
}

const percent = (share) => (100 * share).toFixed(1);

function renderResult({ pairs, habits, file }) {
  const table = element("table"), head = element("tr"), body = element("tbody");
  for (const name of ["model", "against", "win rate", "95 % interval", "wins", "ties", "losses", "prompts"]) {
    const cell = element("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  for (const pair of pairs) {
    const row = element("tr"), first = element("th", pair.first), second = element("th", pair.second);
    first.scope = "row";
    const interval = pair.low === null ? "–" : `${percent(pair.low)} to ${percent(pair.high)}`;
    const cells = [pair.value === null ? "–" : percent(pair.value), interval, pair.wins, pair.ties, pair.losses, pair.n];
    row.append(first, second, ...cells.map((text) => element("td", String(text))));
    body.append(row);
  }
  const caption = element("caption", "Win rates in percent, ties half");
  caption.className = "note";
  table.append(caption, element("thead"), body);
  table.tHead.append(head);
  const scroll = element("div", undefined, "scroll");
  scroll.append(table);
  const left = habits.left_wins, notes = [];
  if (left.value !== null) notes.push(`The response on the left won ${percent(left.value)} % of the decided votes.`);
  if (habits.median_seconds !== null) notes.push(`A vote took ${habits.median_seconds.toFixed(1)} s (median).`);
  if (habits.skipped) notes.push(`${habits.skipped} pairs were skipped.`);
  return [scroll, element("p", notes.join(" "), "note"), element("p", `The votes are in ${file}. You can close this page and stop the server.`, "note")];
}

function problem(text) {
  $("problem").textContent = text || "";
  $("problem").hidden = !text;
}

async function ask(path, body) {
  if (busy) return;
  busy = true;
  try {
    const options = body && { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(path, options), answer = await response.json();
    problem(answer.error);
    if (response.ok || answer.state) render(response.ok ? answer : answer.state);
  } catch {
    problem("The server does not answer. Every vote so far is stored; start the same prefine command again and open the page that it names.");
  } finally {
    busy = false;
  }
}

function act(choice) {
  if (choice === "undo") {
    if (state && state.can_undo) ask("undo", {});
  } else if (state && state.duel) {
    ask("vote", { duel: state.duel.id, choice, seconds: (performance.now() - since) / 1000 });
  }
}

document.addEventListener("keydown", (event) => {
  const choice = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!choice || event.repeat || event.ctrlKey || event.altKey || event.metaKey || !$("shortcuts").checked) return;
  event.preventDefault();
  act(choice);
});
for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => act(button.dataset.choice));
for (const id of ["undo", "end-undo"]) $(id).addEventListener("click", () => act("undo"));
$("reveal").addEventListener("click", () => ask("reveal", {}));
$("again").addEventListener("click", () => ask("again", {}));
ask("state");
