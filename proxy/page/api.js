// The service's HTTP API. An error of any kind becomes a ServiceError with a code that words.js has words for.

/** Longer than the service's own limits, so that its answer, which says more, comes first. */
const TIMEOUT_MS = 90_000;
/** The proxy closes the connection of a refused body beyond this, before a browser reads why. */
const MAX_SENT_BYTES = 200_000_000;
const TRIES = 5;
/** A wait that is longer is left to the user. */
const MAX_WAIT_S = 60;

const KEY = "api-key";

export class ServiceError extends Error {
  constructor({ code, message = "", reasons = [], retryAfterS = null }) {
    super(message);
    Object.assign(this, { code, reasons, retryAfterS });
  }
}

/** The API key, kept as long as this tab at most; "" for none. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** What the service says of its model: version, operating points and their worth. */
export const model = () => answer("model", {}, (response) => response.json());

/** The model card, Markdown. */
export const modelCard = () => answer("model/card", {}, (response) => response.text());

/** The result of a film with its detail, at an operating point; "" is the service's own. */
export function predict(film, point, options) {
  return send("predict", film, { operating_point: point, detail: "true" }, options, (response) => response.json());
}

/** Where the result comes from: the map of POST /explain. */
export function explain(film, point, options) {
  return send("explain", film, { operating_point: point }, options, async (response) => {
    return (await response.json()).explanation;
  });
}

/** The film as a PNG, for formats that the browser does not decode. */
export function picture(film, options) {
  return send("explain", film, { opacity: "0" }, { ...options, accept: "image/png" }, (response) => response.blob());
}

/**
 * Send a film, and again while the service says that it is busy.
 *
 * The form has no file name: names of films often are names of patients.
 */
async function send(path, film, parameters, { signal, onBusy, accept = "application/json" }, read) {
  if (film.size > MAX_SENT_BYTES) throw new ServiceError({ code: "film_too_large" });
  const wanted = Object.entries(parameters).filter(([, value]) => value !== "");
  const url = `${path}?${new URLSearchParams(wanted)}`;
  for (let tried = 1; ; tried += 1) {
    const body = new FormData();
    body.append("file", film, "film");
    try {
      return await answer(url, { method: "POST", body, accept, signal }, read);
    } catch (error) {
      if (error.code === "unreachable" && !(await readable(film))) throw new ServiceError({ code: "unreadable_file" });
      const wait = error.retryAfterS;
      if (wait === null || wait === undefined || wait > MAX_WAIT_S || tried === TRIES) throw error;
      onBusy?.(wait);
      await pause(wait, signal);
    }
  }
}

async function answer(path, { method = "GET", body, accept = "*/*", signal }, read) {
  const headers = { Accept: accept };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), TIMEOUT_MS);
  const signals = AbortSignal.any([patience.signal, ...(signal ? [signal] : [])]);
  try {
    const options = { method, body, headers, signal: signals, cache: "no-store" };
    const response = await fetch(new URL(path, document.baseURI), options);
    if (!response.ok) throw await refusal(response);
    return await read(response);
  } catch (error) {
    if (signal?.aborted || error instanceof ServiceError) throw error;
    if (patience.signal.aborted) throw new ServiceError({ code: "no_answer" });
    throw new ServiceError({ code: error instanceof SyntaxError ? "not_understood" : "unreachable" });
  } finally {
    clearTimeout(timer);
  }
}

/** The error of an answer that is none of success; of a proxy in between, it may be in no shape of ours. */
async function refusal(response) {
  const retryAfterS = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // what stands for it is below
  }
  const byStatus = { 401: "unauthorised", 413: "film_too_large", 429: "rate_limited", 502: "unavailable",
    503: "unavailable", 504: "timeout" };
  return new ServiceError({
    code: said.code ?? byStatus[response.status] ?? "not_understood",
    message: said.message ?? `HTTP ${response.status}`,
    reasons: said.reasons,
    retryAfterS: [429, 503].includes(response.status) && retryAfterS >= 0 ? retryAfterS : null,
  });
}

async function readable(film) {
  try {
    await film.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
