"use strict";
document.documentElement.classList.add("scripted");
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  for (const [i, head] of [...table.tHead.rows[0].cells].entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.setAttribute("aria-sort", "none");
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const h of table.tHead.rows[0].cells) h.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.cells[i];
        return cell.dataset.v === undefined ? cell.textContent.trim() : cell.dataset.v === "" ? null : Number(cell.dataset.v);
      };
      const order = (a, b) => {
        const x = value(a), y = value(b);
        if (x === null || y === null) return (x === null) - (y === null);
        return (typeof x === "number" ? x - y : String(x).localeCompare(String(y))) * (down ? -1 : 1);
      };
      body.append(...[...body.rows].sort(order));
    });
  }
}

const tip = document.getElementById("tip");
for (const chart of document.querySelectorAll("svg[data-hover]")) {
  const data = JSON.parse(chart.dataset.hover);
  const box = chart.viewBox.baseVal;
  const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
  cursor.setAttribute("class", "cursor");
  const leave = () => { tip.hidden = true; cursor.remove(); };
  const show = (event) => {
    const rect = chart.getBoundingClientRect();
    const x = (event.clientX - rect.left) * box.width / rect.width;
    const y = (event.clientY - rect.top) * box.height / rect.height;
    const far = data.near ? (p) => Math.hypot(p[0] - x, p[1] - y) : (p) => Math.abs(p[0] - x);
    let found = data.series.map((s) => [s, s.points.reduce((a, p) => (far(p) < far(a) ? p : a), s.points[0])])
      .filter(([, p]) => p);
    if (!found.length) return;
    const best = found.reduce((a, f) => (far(f[1]) < far(a[1]) ? f : a))[1];
    found = data.near ? found.filter(([, p]) => p === best) : found.filter(([, p]) => Math.abs(p[0] - best[0]) < 6);
    tip.replaceChildren();
    const head = document.createElement("div");
    head.textContent = `${data.x} ${best[2]}`;
    tip.append(head);
    for (const [series, point] of found) {
      const row = document.createElement("div");
      const name = document.createElement("span");
      name.textContent = series.label;
      name.style.color = series.color;
      const value = document.createElement("b");
      value.textContent = point[3];
      row.append(name, value);
      tip.append(row);
    }
    cursor.setAttribute("x1", best[0]);
    cursor.setAttribute("x2", best[0]);
    cursor.setAttribute("y1", 14);
    cursor.setAttribute("y2", box.height - 40);
    if (!cursor.parentNode) chart.append(cursor);
    tip.hidden = false;
    const left = event.clientX + 14 + tip.offsetWidth > innerWidth ? event.clientX - 14 - tip.offsetWidth : event.clientX + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4))}px`;
  };
  chart.addEventListener("pointermove", show);
  chart.addEventListener("pointerdown", show);
  chart.addEventListener("pointerleave", leave);
}

const cards = document.getElementById("cards");
if (cards) {
  const drawn = [...cards.children];
  const text = new Map(drawn.map((card) => [card, card.textContent.toLowerCase()]));
  const field = (id) => document.getElementById(id)?.value ?? "";
  const refresh = () => {
    const family = field("family"), wanted = field("contains").toLowerCase(), order = field("order");
    const variant = field("variant"), winner = field("winner");
    const gain = (card) => Number(card.dataset.gain.split(" ")[Number(order.slice(1))]) * (order[0] === "+" ? -1 : 1);
    cards.append(...(order ? [...drawn].sort((a, b) => gain(a) - gain(b)) : drawn));
    let shown = 0;
    for (const card of drawn) {
      card.hidden = (family && card.dataset.family !== family) || (winner && card.dataset.winner !== winner)
        || !text.get(card).includes(wanted);
      shown += card.hidden ? 0 : 1;
      for (const answer of card.querySelectorAll(".answer")) {
        const model = answer.dataset.model;
        answer.hidden = variant !== "" && model !== variant && model !== "start";
      }
    }
    document.getElementById("matches").textContent = shown === drawn.length ? "" : `${shown} of ${drawn.length}`;
  };
  for (const id of ["variant", "winner", "family", "contains", "order"]) {
    document.getElementById(id)?.addEventListener("input", refresh);
  }
  document.querySelector("form.filters").addEventListener("submit", (event) => event.preventDefault());
  refresh();
}
