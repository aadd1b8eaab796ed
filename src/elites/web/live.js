// The live page: asks once a second what has changed, fetches only that, and puts it in its place. Elements stay the
// same ones where they can, so that focus, scroll positions and open details stay where they are.
"use strict";
(() => {
  const EVERY = 1000; // milliseconds between two questions
  const FOLDED = new Set(["probe", "reproduce"]); // parts that hardly change: closed until somebody opens them
  const token = location.hash.slice(1);
  const said = document.getElementById("said");
  const list = document.getElementById("list");
  const choose = document.getElementById("choose");
  const grid = document.getElementById("runs");
  const known = new Set(); // runs that were shown once: whoever hides one does not see it come back
  const shown = new Set();
  const words = new Map(); // the state of each run when it was last told
  let tag = "";
  let timer = 0;
  let asking = false;
  let again = false;

  const ask = (path, method = "GET", headers = {}) =>
    fetch(path, { method, cache: "no-store", headers: { Authorization: `Bearer ${token}`, ...headers } });

  const say = (text) => {
    if (said.textContent !== text) said.textContent = text;
  };

  // Make `old` like `made`, touching only what differs. `open` belongs to the reader.
  function morph(old, made) {
    if (old.isEqualNode(made)) return;
    if (old.nodeName !== made.nodeName) {
      old.replaceWith(made);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = made.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!made.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of made.attributes) {
      if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    }
    fill(old, made);
  }

  function fill(old, made) {
    const mine = [...old.childNodes];
    const theirs = [...made.childNodes];
    theirs.forEach((child, i) => (i < mine.length ? morph(mine[i], child) : old.append(child)));
    mine.slice(theirs.length).forEach((child) => child.remove());
  }

  async function put(place, path) {
    const answer = await ask(path);
    if (!answer.ok) return false;
    const made = document.createElement("template");
    made.innerHTML = await answer.text(); // scripts in it would not run, and the policy of the page forbids them
    const within = place.contains(document.activeElement);
    fill(place, made.content);
    if (within && !place.contains(document.activeElement)) place.closest("[tabindex]").focus({ preventScroll: true });
    return true;
  }

  function frame(run) {
    let article = document.getElementById(`run-${run.id}`);
    if (!article) {
      article = document.createElement("article");
      article.id = `run-${run.id}`;
      article.tabIndex = -1;
      article.dataset.run = run.id;
    }
    article.setAttribute("aria-label", run.name);
    return article;
  }

  function section(article, [name, title]) {
    let found = [...article.children].find((child) => child.dataset.part === name);
    if (!found) {
      const folded = FOLDED.has(name);
      found = document.createElement(folded ? "details" : "section");
      found.dataset.part = name;
      if (title) {
        const head = document.createElement("h3");
        head.textContent = title;
        found.append(folded ? document.createElement("summary") : head);
        if (folded) found.firstChild.append(head);
      }
      found.append(document.createElement("div"));
    }
    return found;
  }

  // Put the children in this order, moving only those that are elsewhere.
  function order(parent, children) {
    children.forEach((child, i) => {
      if (parent.children[i] !== child) parent.insertBefore(child, parent.children[i] || null);
    });
    [...parent.children].slice(children.length).forEach((child) => child.remove());
  }

  async function draw(told) {
    choose.hidden = told.count === 1;
    if (list.dataset.digest !== told.list && (await put(list, "/part/list"))) list.dataset.digest = told.list;
    for (const box of list.querySelectorAll("input")) box.checked = shown.has(box.value);
    const rows = [...new Set(told.runs.flatMap((run) => run.parts.map(([name]) => name)))];
    order(grid, told.runs.map(frame));
    grid.classList.toggle("several", told.runs.length > 1);
    const news = [];
    for (const run of told.runs) {
      const article = frame(run);
      article.style.gridRow = `span ${rows.length}`;
      order(article, run.parts.map((part) => section(article, part)));
      for (const [name, title, digest] of run.parts) {
        const place = section(article, [name, title]);
        place.style.gridRow = String(rows.indexOf(name) + 1);
        if (place.dataset.digest === digest) continue;
        if (await put(place.lastChild, `/part/${run.id}/${name}`)) place.dataset.digest = digest;
      }
      if (words.has(run.id) && words.get(run.id) !== run.word) news.push(`${run.name}: ${run.word}`);
      words.set(run.id, run.word);
    }
    if (news.length) say(news.join(", "));
  }

  async function look() {
    const answer = await ask(`/live?show=${[...shown].join(",")}`, "GET", tag ? { "If-None-Match": tag } : {});
    if (answer.status === 304) return;
    if (!answer.ok) {
      say(await answer.text());
      return;
    }
    const told = await answer.json();
    const fresh = told.suggested.filter((id) => !known.has(id));
    for (const id of fresh) {
      known.add(id);
      shown.add(id);
    }
    again = fresh.length > 0;
    if (again) return;
    await draw(told);
    tag = answer.headers.get("ETag") || ""; // only now: what was not drawn is asked for again
  }

  async function tick() {
    clearTimeout(timer);
    if (asking) {
      again = true;
      return;
    }
    asking = true;
    again = false;
    try {
      if (!document.hidden) await look();
      if (said.dataset.lost) {
        delete said.dataset.lost;
        say("");
      }
    } catch {
      said.dataset.lost = "yes";
      say("The server of this page has ended: start elites watch again. The runs go on.");
    }
    asking = false;
    timer = setTimeout(tick, again ? 0 : EVERY);
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button || button.ariaDisabled === "true") return; // not `disabled`, which would lose the focus
    if (button.dataset.do) {
      const answer = await ask(`/runs/${button.closest("[data-run]").dataset.run}/${button.dataset.do}`, "POST");
      if (!answer.ok) say(await answer.text());
      tick();
    } else if ("copy" in button.dataset) {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      say("Copied.");
    }
  });

  list.addEventListener("change", ({ target }) => {
    known.add(target.value);
    if (target.checked) shown.add(target.value);
    else shown.delete(target.value);
    tag = "";
    tick();
  });

  document.addEventListener("visibilitychange", tick);
  if (token) tick();
  else say("Open the address that elites watch has printed, with all that comes after the #.");
})();
