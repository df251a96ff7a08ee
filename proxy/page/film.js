// One film: its file, its card, and its way through the service.

import * as api from "./api.js";
import { Card } from "./card.js";
import { Queue } from "./queue.js";
import * as words from "./words.js";

/** Films on their way to the service at once; its own queue is for all who use it. */
const screenings = new Queue(3);
/** Pictures and heatmaps: no result waits for them. */
const extras = new Queue(1);

export class Film {
  /** "waiting" until it is "done" or has "failed". */
  state = "waiting";
  /** What the card says at its top, once it is no more waiting. */
  headline = "";
  /** Of the verdict: "found", "clear" or "doubt". */
  tone = "";
  result = null;
  error = null;

  #file;
  #page;
  #run = new AbortController();
  #url = "";
  #seen = false;
  #explaining = false;

  /**
   * `page` has the user's choices, `point` and `heatmaps`, and `uncertainty(result)`, the model's rule; it is told of
   * `changed(film)` and `removed(film)`.
   */
  constructor(file, page) {
    this.#file = file;
    this.#page = page;
    this.card = new Card(file.name || "Film without a name", {
      again: () => this.#again(),
      remove: () => page.removed(this),
      receipt: () => this.#saveReceipt(),
    });
    this.card.showHeatmap(page.heatmaps);
  }

  /** Show the film as the browser decodes it, if it can. */
  async show() {
    this.#url = URL.createObjectURL(this.#file);
    if (await this.card.pictures(this.#url)) return;
    this.#letGo();
    this.card.lacksPicture("The browser cannot show this format. The service’s picture comes with the result.");
    await this.explain();
  }

  /** Have the film screened at the chosen operating point, from the start. */
  async screen() {
    this.#run.abort();
    this.#run = new AbortController();
    const { signal } = this.#run;
    this.#becomes("waiting", {});
    this.card.waits();
    this.card.forgetHeatmap();
    this.#page.changed(this);
    try {
      const result = await screenings.run(() => this.#send(signal), signal);
      this.#becomes("done", { result, ...this.card.shows(result, this.#page.uncertainty(result)) });
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof api.ServiceError)) throw error; // a fault of this page, for the console
      this.#becomes("failed", { error, ...this.card.fails(error) });
    }
    this.#page.changed(this);
    await this.explain();
  }

  /** The card has come into sight, or has left it. */
  async seen(visible) {
    this.#seen = visible;
    await this.explain();
  }

  /** Fetch what the card of a screened film lacks: the heatmap, if it is wanted, and a picture. */
  async explain() {
    const { signal } = this.#run;
    const mapWanted = this.#page.heatmaps && !this.card.explained;
    const lacks = this.#url === "" || mapWanted;
    if (this.state !== "done" || !this.#seen || this.#explaining || !lacks) return;
    this.#explaining = true;
    try {
      await extras.run(() => this.#fetchExtras(mapWanted, signal), signal);
      this.card.lacksHeatmap("");
    } catch (error) {
      if (!signal.aborted) this.card.lacksHeatmap(`No heatmap: ${words.error(error).headline}.`);
    } finally {
      this.#explaining = false;
    }
  }

  /** Stop what is on its way, and let go of the film. */
  end() {
    this.#run.abort();
    this.#letGo();
    this.card.element.remove();
  }

  async #again() {
    this.card.focus(); // the button goes
    await this.screen();
  }

  #becomes(state, { result = null, error = null, headline = "", tone = "" }) {
    Object.assign(this, { state, result, error, headline, tone });
  }

  #send(signal) {
    this.card.isSent();
    const onBusy = (seconds) => this.card.isBusy(seconds);
    return api.predict(this.#file, this.#page.point, { signal, onBusy });
  }

  async #fetchExtras(mapWanted, signal) {
    if (this.#url === "") {
      this.#url = URL.createObjectURL(await api.picture(this.#file, { signal }));
      await this.card.pictures(this.#url);
    }
    if (mapWanted) this.card.explains(await api.explain(this.#file, this.#page.point, { signal }));
  }

  #letGo() {
    URL.revokeObjectURL(this.#url);
    this.#url = "";
  }

  #saveReceipt() {
    const text = JSON.stringify(this.result.detail.receipt, null, 2);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `${this.card.name.replace(/\.[^.]*$/, "")}.receipt.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the download has begun by then
  }
}
