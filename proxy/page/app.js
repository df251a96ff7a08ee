// The page: takes films, has each screened, and says how it went. Films stay in the browser as long as their cards are
// on the page, and nothing of them is stored.

import * as api from "./api.js";
import { MAX_FILMS, receive } from "./files.js";
import { Film } from "./film.js";
import * as words from "./words.js";

/** Results that come within it are announced together. */
const ANNOUNCE_MS = 700;

const at = (id) => document.getElementById(id);

/** In the order of the page. */
let films = [];

/** As the service describes it; null until it has. */
let model = null;

/** What films know of the page. */
const page = {
  get point() {
    return at("point").value;
  },
  get heatmaps() {
    return at("heatmaps").checked;
  },
  /** The rule of the model that gave a result; null for another version than the page knows. */
  uncertainty(result) {
    return result.detail.model_version === model?.version ? model.uncertainty : null;
  },
  changed(film) {
    summarise();
    if (film.state !== "waiting") announce(film);
    if (film.error?.code === "unauthorised") askForKey();
    if (film.state === "done" && !at("service").hidden) loadModel();
  },
  removed(film) {
    const place = films.indexOf(film);
    films.splice(place, 1);
    film.end();
    summarise();
    const next = films[place] ?? films[place - 1];
    if (next) next.card.focus();
    else at("choose").focus();
  },
};

// Films

const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      films.find((film) => film.card.element === entry.target)?.seen(entry.isIntersecting);
    }
  },
  { rootMargin: "200px" },
);

function add(files) {
  const room = MAX_FILMS - films.length;
  for (const file of files.slice(0, room)) {
    const film = new Film(file, page);
    films.push(film);
    at("films").append(film.card.element);
    watcher.observe(film.card.element);
    film.show();
    film.screen();
  }
  const left = files.length - room;
  if (left > 0) say(words.tooMany(left, MAX_FILMS));
  at("intake-help").textContent = left > 0 ? words.tooMany(left, MAX_FILMS) : help;
}

function sort() {
  const urgency = (film) => film.result?.p_pneumonia ?? (film.state === "failed" ? -1 : -2);
  films.sort((one, other) => urgency(other) - urgency(one));
  at("films").append(...films.map((film) => film.card.element));
  say("Films sorted, the highest p first.");
}

function removeAll() {
  for (const film of films) film.end();
  films = [];
  summarise();
  at("intake-help").textContent = help;
  at("choose").focus();
}

function screenAgain(which) {
  for (const film of films.filter(which)) film.screen();
}

// What is said of them

function summarise() {
  const count = (which) => films.filter(which).length;
  const done = count((film) => film.state === "done");
  const failed = count((film) => film.state === "failed");
  const found = count((film) => film.tone === "found");
  const text = words.summary({ total: films.length, done, found, failed });
  at("summary").textContent = text;
  at("progress").max = Math.max(1, films.length);
  at("progress").value = done + failed;
  at("progress").hidden = done + failed === films.length;
  at("results").hidden = films.length === 0;
  at("again-all").hidden = failed < 2;
  at("sort").hidden = done < 2;
  document.body.toggleAttribute("data-films", films.length > 0);
  return text;
}

const news = [];
let timer = 0;

/** Have a screen reader read how films went: each by its name, or many by their numbers. */
function announce(film) {
  news.push(`${film.card.name}: ${film.headline}.`);
  clearTimeout(timer);
  timer = setTimeout(() => {
    const some = news.splice(0);
    say([...(some.length > 3 ? [] : some), summarise()].join(" "));
  }, ANNOUNCE_MS);
}

function say(text) {
  at("said").textContent = text;
}

// The service

async function loadModel() {
  at("service").hidden = true;
  try {
    showModel(await api.model());
    at("key-kept").hidden = api.key.get() === "";
  } catch (error) {
    if (error.code === "unauthorised") askForKey();
    else showTrouble(words.error(error));
  }
}

function showModel(described) {
  model = described;
  const chosen = page.point || model.served_operating_point;
  const options = model.operating_points.map(({ name }) => {
    const text = name === model.served_operating_point ? `${name} (the service’s own)` : name;
    return new Option(text, name, false, name === chosen);
  });
  at("point").replaceChildren(...options);
  at("point").disabled = false;
  at("version").textContent = `Model ${model.version}`;
  at("version").hidden = false;
  explainPoint();
}

function explainPoint() {
  const chosen = model?.operating_points.find(({ name }) => name === page.point);
  at("point-text").textContent = chosen ? words.operatingPoint(chosen) : "";
}

function showTrouble({ headline, why }) {
  at("service-title").textContent = headline;
  at("service-text").textContent = why;
  at("service").hidden = false;
  say(`${headline}. ${why}`);
}

async function showModelCard(event) {
  event.preventDefault();
  at("card-dialog").showModal();
  at("card-text").textContent = "Loading";
  try {
    at("card-text").textContent = await api.modelCard();
  } catch (error) {
    at("card-text").textContent = `${words.error(error).headline}.`;
  }
}

// The API key

function askForKey() {
  const refused = api.key.get() !== "";
  api.key.forget();
  at("key-kept").hidden = true;
  at("docs").hidden = true; // a link carries no key
  if (refused) refuseKey("The service does not know this key.");
  if (!at("access").hidden) return;
  at("access").hidden = false;
  say("This service wants an API key. There is a field for it at the top of the page.");
}

function refuseKey(text) {
  at("access-error").textContent = text;
  at("key").setAttribute("aria-invalid", String(text !== ""));
  if (text) say(text);
}

function takeKey(event) {
  event.preventDefault();
  const value = at("key").value.trim();
  if (!/^[!-~]+$/.test(value)) {
    refuseKey("A key has letters, digits and signs only, and no spaces.");
    return;
  }
  api.key.set(value);
  at("key").value = "";
  refuseKey("");
  at("access").hidden = true;
  at("choose").focus();
  loadModel();
  screenAgain((film) => film.error?.code === "unauthorised");
}

function forgetKey() {
  api.key.forget();
  at("key-kept").hidden = true;
  say("The API key is forgotten.");
  at("choose").focus();
}

// Wiring

const help = at("intake-help").textContent;

receive(at("choose"), add);
at("point").addEventListener("change", () => {
  explainPoint();
  screenAgain(() => true);
});
at("heatmaps").addEventListener("change", () => {
  for (const film of films) {
    film.card.showHeatmap(page.heatmaps);
    film.explain();
  }
});
at("again-all").addEventListener("click", () => {
  at("results-title").focus(); // the button goes
  screenAgain((film) => film.state === "failed");
});
at("sort").addEventListener("click", sort);
at("remove-all").addEventListener("click", removeAll);
at("service-again").addEventListener("click", loadModel);
at("card-link").addEventListener("click", showModelCard);
at("card-close").addEventListener("click", () => at("card-dialog").close());
at("access-form").addEventListener("submit", takeKey);
at("forget").addEventListener("click", forgetKey);

loadModel();
