// The card of one film. It shows what it is told; what happens when is in app.js.

import { drawLegend, drawMap, largest } from "./heatmap.js";
import * as words from "./words.js";

let made = 0;

export class Card {
  #explanation = null;
  #handlers;

  /** `handlers`: what to call when the user wants it, `again`, `remove` and `receipt`. */
  constructor(name, handlers) {
    made += 1;
    this.name = name;
    this.#handlers = handlers;
    const template = document.getElementById("film-template");
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#part("article").setAttribute("aria-labelledby", `name-${made} verdict-${made}`);
    this.#part(".name").id = `name-${made}`;
    this.#part(".verdict").id = `verdict-${made}`;
    this.#text(".name", name);
    this.#part(".name").title = name;
    for (const action of ["again", "remove", "receipt"]) {
      const button = this.#part(`.${action}`);
      button.setAttribute("aria-describedby", `name-${made}`);
      button.addEventListener("click", () => this.#handlers[action]());
    }
    this.#part(".enlarge").addEventListener("click", () => this.#enlarge());
    this.#part(".heat-opacity input").addEventListener("input", () => this.#fade());
    this.waits();
  }

  // Where it stands

  waits() {
    this.#progress(words.PROGRESS.waiting);
  }

  isSent() {
    this.#progress(words.PROGRESS.sending);
  }

  isBusy(seconds) {
    this.#progress(words.PROGRESS.busy(seconds));
  }

  /** Show a result, and where on the scale results are uncertain by a rule, null for unknown; returns the verdict. */
  shows(result, rule) {
    const { tone, headline, why, uncertain } = words.verdict(result);
    this.#state(tone, headline, why);
    if (uncertain) this.#part(".verdict").append(element("span", "Uncertain", "badge"));
    this.#scale(result, rule);
    this.#list(words.warnings(result));
    const pairs = words.facts(result).flatMap(([name, text]) => [element("dt", name), element("dd", text)]);
    this.#part(".facts dl").replaceChildren(...pairs);
    this.#show(".facts", ".receipt");
    return { headline, tone };
  }

  /** Show an error in place of a result; returns what it is called. */
  fails(error) {
    const { headline, why, said, reasons } = words.error(error);
    this.#state("failed", headline, why);
    this.#list(said ? [...reasons, `The service says: ${said}`] : reasons);
    this.#show(".again");
    return { headline };
  }

  /** Give the keyboard a place to go on from. */
  focus() {
    this.#part(".verdict").focus();
  }

  // Its picture

  /** Show the film from a URL; false where the browser cannot decode it. */
  async pictures(url) {
    const image = this.#part(".picture-film");
    image.src = url;
    try {
      await image.decode();
    } catch {
      return false;
    }
    this.#part(".picture").style.setProperty("--aspect", image.naturalWidth / image.naturalHeight);
    image.alt = `The film ${this.name}`;
    this.#part(".picture-text").hidden = true;
    this.#show(".picture-film", ".enlarge");
    this.#overlay();
    return true;
  }

  /** Say in words why there is no picture, or not yet. */
  lacksPicture(text) {
    this.#text(".picture-text", text);
  }

  /** Lay a heatmap over the film. */
  explains(explanation) {
    this.#explanation = explanation;
    const most = largest(explanation.map).toFixed(2);
    this.#text(".legend-low", `−${most}`);
    this.#text(".legend-high", `+${most}`);
    this.#text(".legend-text", "Blue speaks against pneumonia, orange for it; in log odds that each place adds.");
    drawLegend(this.#part(".legend-bar"));
    this.#part(".heat-text").hidden = true;
    this.#overlay();
  }

  /** Say in words why there is no heatmap. */
  lacksHeatmap(text) {
    this.#text(".heat-text", text);
    this.#part(".heat-text").hidden = text === "";
  }

  /** Show the heatmap that there is, or not. */
  showHeatmap(wanted) {
    this.element.toggleAttribute("data-plain", !wanted);
  }

  /** Forget the heatmap: another result comes. */
  forgetHeatmap() {
    this.#explanation = null;
    this.#hide(".heat", ".heat-text", ".picture-heat");
  }

  get explained() {
    return this.#explanation !== null;
  }

  // Parts

  #part(selector) {
    return this.element.querySelector(selector);
  }

  #text(selector, text) {
    this.#part(selector).textContent = text;
  }

  #show(...selectors) {
    for (const selector of selectors) this.#part(selector).hidden = false;
  }

  #hide(...selectors) {
    for (const selector of selectors) this.#part(selector).hidden = true;
  }

  #state(tone, headline, why) {
    this.element.dataset.tone = tone;
    this.element.setAttribute("aria-busy", String(tone === "busy"));
    this.#text(".verdict", headline);
    this.#text(".why", why);
    this.#hide(".scale", ".warnings", ".facts", ".again", ".receipt");
  }

  #progress(text) {
    this.#state("busy", text, "");
  }

  #list(texts) {
    this.#part(".warnings").replaceChildren(...texts.map((text) => element("li", text)));
    this.#part(".warnings").hidden = texts.length === 0;
  }

  #scale(result, rule) {
    const { operating_point: point, uncertain } = result.detail;
    // The verdict is the one label that the rule leaves below all of these, or above.
    const bounds = rule === null ? [0] : [point.threshold, rule.pneumonia_from, rule.normal_to];
    const scale = this.#part(".scale");
    scale.style.setProperty("--p", result.p_pneumonia);
    scale.style.setProperty("--threshold", point.threshold);
    scale.style.setProperty("--from", Math.min(...bounds));
    scale.style.setProperty("--to", Math.max(...bounds));
    scale.toggleAttribute("data-uncertain", uncertain);
    this.#part(".scale-legend").hidden = rule === null;
    scale.setAttribute("aria-label", words.scale(result));
    this.#text(".scale-p", `p = ${words.decimals(result.p_pneumonia)}`);
    this.#text(".scale-threshold", `threshold ${point.threshold}`);
    scale.hidden = false;
  }

  #overlay() {
    if (this.#explanation === null || this.#part(".picture-film").hidden) return;
    drawMap(this.#part(".picture-heat"), this.#explanation);
    this.#show(".picture-heat", ".heat");
    this.#fade();
  }

  #fade() {
    const share = this.#part(".heat-opacity input").value;
    this.#part(".picture-heat").style.opacity = share / 100;
    this.#text(".heat-share", `${share}\u00a0%`);
  }

  #enlarge() {
    const large = this.element.toggleAttribute("data-large");
    this.#part(".enlarge").setAttribute("aria-pressed", String(large));
  }
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}
