// What the page says: verdicts, warnings and errors in plain words. No other module has sentences about films.

/** p as the service serves it: four decimals. */
export const decimals = (p) => p.toFixed(4);

/** A proportion as a percentage, in one piece. */
export const percent = (share) => `${Number((100 * share).toFixed(1))}\u00a0%`;

const GATE = {
  not_a_chest_film: "This does not look like a chest X-ray.",
  unlike_training_films:
    "This film is unlike those that the model learned from: perhaps an adult’s, or another view. Do not rely on the result.",
  colour_picture: "A colour picture, not a radiograph.",
  inverted: "The film is, or may be, a negative.",
  upside_down: "The film seems to be upside down.",
  on_its_side: "The film seems to lie on its side.",
  mirrored: "The film may be mirrored, or the heart lies on the right.",
  too_small: "The film is so small that detail is missing.",
  low_contrast: "The film has less contrast than those that the model learned from.",
  unusual_exposure: "The film is exposed unlike those that the model learned from.",
};

/** Sentences of the note that a gate reason says already. */
const SAID_BY = {
  not_a_chest_film: /not recognised as a chest film/,
  unlike_training_films: /unlike the films/,
  colour_picture: /colour picture/,
  upside_down: /upside down/,
  on_its_side: /on its side/,
  mirrored: /may be mirrored, or the heart/,
  too_small: /smaller than/,
  low_contrast: /lower contrast/,
  unusual_exposure: /brighter or darker/,
};

/** Reasons of which the note says more than the code does. */
const BETTER_IN_NOTE = { inverted: /was a negative|may be a negative/ };

/** A gate reason in plain words; one that the page does not know yet, by its code. */
export const reason = (code) => GATE[code] ?? `The input gate says: ${code.replaceAll("_", " ")}.`;

/** The codes of the gate; none where the service has switched it off. */
const gateReasons = (result) => result.detail.gate?.reasons ?? [];

/** What there is to know before a result is believed: the gate's reasons, then the rest of the note's warnings. */
export function warnings(result) {
  const codes = gateReasons(result);
  const sentences = result.note.split("Warning: ").slice(1).map((text) => text.trim());
  const unsaid = sentences.filter((text) => !codes.some((code) => SAID_BY[code]?.test(text)));
  const said = codes.filter((code) => !sentences.some((text) => BETTER_IN_NOTE[code]?.test(text)));
  return [...said.map(reason), ...unsaid.map((text) => text[0].toUpperCase() + text.slice(1))];
}

/**
 * The verdict on a film: a headline, the sentence below it, and its tone.
 * A picture that is no chest film gets no verdict: what the model says of it means nothing.
 */
export function verdict(result) {
  const { operating_point: point, uncertain } = result.detail;
  const found = result.prediction === "PNEUMONIA";
  const side = found ? "at or above" : "below";
  const why = `p, the probability of pneumonia, is ${side} the threshold of the operating point ${point.name}.`;
  const codes = gateReasons(result);
  if (codes.includes("not_a_chest_film") && (codes.includes("on_its_side") || codes.includes("upside_down"))) {
    return {
      tone: "doubt",
      headline: "Not upright, or no chest X-ray",
      why: `Turn the film and screen it again. As it lies, the model would say ${result.prediction}, which means little.`,
    };
  }
  if (codes.includes("not_a_chest_film")) {
    return {
      tone: "doubt",
      headline: "Probably not a chest X-ray",
      why: `The model would say ${result.prediction}, which means nothing for other pictures.`,
    };
  }
  const headline = found ? "Signs of pneumonia found" : "No signs found at this operating point";
  return { tone: found ? "found" : "clear", headline, why: uncertain ? `${why} ${doubt(result)}` : why, uncertain };
}

const KINDS = { NORMAL: "films without pneumonia", PNEUMONIA: "films with pneumonia" };

/** What the conformal rule says of an uncertain film. */
function doubt(result) {
  const { labels, coverage } = result.detail.prediction_set;
  const usual =
    labels.length === 2
      ? "such a p is usual for films with and without pneumonia"
      : labels.length === 0
        ? "such a p is unusual for films with and without pneumonia"
        : `such a p is usual for ${KINDS[labels[0]]} only, but this operating point says ${result.prediction}`;
  return `It is uncertain: ${usual} (at a coverage of ${percent(coverage)}). Have a person look at this film.`;
}

/** p and its threshold as a sentence, for those who do not see the scale. */
export function scale(result) {
  const { operating_point: point, uncertain } = result.detail;
  const text = `p of pneumonia ${decimals(result.p_pneumonia)}, on a scale from 0 to 1; threshold ${point.threshold}`;
  return uncertain ? `${text}; uncertain` : text;
}

/** What an operating point is worth, in a sentence. */
export function operatingPoint({ threshold, sensitivity, specificity }) {
  const between = ({ value, low, high }) => `${percent(value)} (${percent(low)} to ${percent(high)})`;
  return (
    `Threshold ${threshold}. On the held-out films that it was chosen on it finds ${between(sensitivity)} of those ` +
    `with pneumonia and clears ${between(specificity)} of those without.`
  );
}

const READABLE = "JPEG, PNG, JPEG 2000 and DICOM files are read.";
const LATER = "This passes by itself, most often within seconds.";

/** By the code of an error: what happened, and what can be done. */
const ERRORS = {
  film_too_large: ["The file is too large", "Save the film in a smaller file, or as JPEG."],
  unsupported_format: ["This is no film that the service can read", READABLE],
  unsupported_encoding: ["The film is coded in a way that is not read", READABLE],
  damaged_film: ["The file is damaged", "Export it anew from where it came from."],
  unusable_film: ["The film cannot be used", "It must be one frontal chest film, neither blank, tiny nor enormous."],
  empty_file: ["The file is empty", "Export it anew from where it came from."],
  rejected_by_gate: ["Not screened: this is no film for this model", ""],
  invalid_parameter: ["The service does not know this operating point", "Load this page anew."],
  unauthorised: ["The service wants an API key", "Type it into the field above; the film is then sent again."],
  rate_limited: ["Too many films in a short time", "Wait a minute, then try again."],
  loading: ["The service is still starting", LATER],
  unavailable: ["The service cannot screen films now", LATER],
  timeout: ["The service did not answer in time", LATER],
  saturated: ["The service has too much to do", LATER],
  stopping: ["The service is being stopped", "Ask whoever runs it when it comes back."],
  upload_timeout: ["The film took too long to arrive", "The connection is slow. Try again, or use a smaller file."],
  prediction_failed: ["The model failed on this film", "Try again; if it fails again, tell whoever runs the service."],
  internal_error: ["The service failed", "Try again; if it fails again, tell whoever runs the service."],
  // Found by the page itself:
  unreachable: ["The service cannot be reached", "Check the network connection, and whether the service is running."],
  no_answer: ["The service gave no answer", "It took too long. Try again when it has less to do."],
  unreadable_file: ["The file cannot be read", "It was moved, changed or deleted since you chose it. Choose it again."],
  not_understood: ["The service gave an answer that this page does not understand", "Load this page anew."],
};

/** An error as a headline, what to do, and what the service itself said. */
export function error({ code, message, reasons = [] }) {
  const [headline, advice] = ERRORS[code] ?? ["The film could not be screened", ""];
  return { headline, why: advice, said: message, reasons: reasons.map(reason) };
}

const PRESENTATION = { true: "yes", false: "no", null: "uncertain" };

/** The facts of a result as pairs of a name and a text. */
export function facts(result) {
  const { film, operating_point: point, receipt } = result.detail;
  const { bars, window: levels, presentation } = film;
  const trimmed = [bars.left, bars.top, bars.right, bars.bottom];
  return [
    ["File", `${film.kind}, ${film.width_px} × ${film.height_px} pixels, ${film.bits} bits`],
    ["Bars trimmed", trimmed.some(Boolean) ? `left, top, right, bottom: ${trimmed.join(", ")} pixels` : "none"],
    ["Levels stretched", `from ${levels.low.toFixed(0)} to ${levels.high.toFixed(0)}`],
    ["Negative", PRESENTATION[presentation.negative]],
    ["Turned", presentation.turned ?? "no"],
    ["Contrast, colour", `${film.contrast.toFixed(1)}, ${film.colour.toFixed(1)} grey levels`],
    ["Operating point", `${point.name}, threshold ${point.threshold}`],
    ["p, unrounded", String(result.detail.p_pneumonia)],
    ["Model version", result.detail.model_version],
    ["SHA-256 of the film", receipt.film_sha256],
    ["Request", receipt.request_id],
  ];
}

const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

/** How far the films are, in a sentence. */
export function summary({ total, done, found, failed }) {
  const parts = [`${done} of ${plural(total, "film", "films")} screened`];
  if (done > 0) parts.push(found === 0 ? "none with signs of pneumonia" : `${found} with signs of pneumonia`);
  if (failed > 0) parts.push(`${failed} failed`);
  return `${parts.join(", ")}.`;
}

/** What the page says when more films come than it takes. */
export const tooMany = (left, most) =>
  `${plural(left, "film was", "films were")} left out: the page takes ${most} at once. For more there is the worklist, ` +
  "python -m batch.";

/** What a film's card says while it is on its way. */
export const PROGRESS = {
  waiting: "Waiting for its turn",
  sending: "Being screened",
  busy: (seconds) => `The service is busy. Trying again in ${plural(seconds, "second", "seconds")}`,
};
