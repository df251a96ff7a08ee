// The class-activation map over a film, drawn as the PNG of POST /explain is: orange where a place adds to the log odds
// of pneumonia, blue where it takes away, ever more opaque up to the largest value of the film. Colour-blind people
// tell the two apart as well.

const FOR = [240, 140, 20];
const AGAINST = [64, 130, 230];
/** Of the canvas, on its longer side; the browser stretches it to the film. */
const LONGEST_PX = 192;

/** Draw the map of an explanation on a canvas, and lay it over the part of the film that it belongs to. */
export function drawMap(canvas, explanation) {
  const { map, width_px: width, height_px: height, left_px: left, top_px: top } = explanation;
  const across = explanation.right_px - left;
  const down = explanation.bottom_px - top;
  const scale = LONGEST_PX / Math.max(across, down);
  canvas.width = Math.max(1, Math.round(scale * across));
  canvas.height = Math.max(1, Math.round(scale * down));
  const most = largest(map);
  fill(canvas, (x, y) => between(map, x, y) / most);
  Object.assign(canvas.style, {
    left: `${(100 * left) / width}%`,
    top: `${(100 * top) / height}%`,
    width: `${(100 * across) / width}%`,
    height: `${(100 * down) / height}%`,
  });
}

/** Draw all colours of the map, from the least to the most. */
export function drawLegend(canvas) {
  fill(canvas, (x) => 2 * x - 1);
}

/** The largest value of a map, in log odds, whatever its sign. */
export function largest(map) {
  return Math.max(1e-6, ...map.flat().map(Math.abs));
}

/** Give each pixel of a canvas the colour of `share(x, y)`, -1 to 1, of its place, 0 to 1. */
function fill(canvas, share) {
  const { width, height } = canvas;
  const image = new ImageData(width, height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const value = share((x + 0.5) / width, (y + 0.5) / height);
      image.data.set([...(value > 0 ? FOR : AGAINST), 255 * Math.min(1, Math.abs(value))], 4 * (y * width + x));
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The value of a map at a place, 0 to 1, between the centres of its cells. */
function between(map, x, y) {
  const [row, nextRow, down] = cell(y, map.length);
  const [column, nextColumn, right] = cell(x, map[0].length);
  const upper = mix(map[row][column], map[row][nextColumn], right);
  const lower = mix(map[nextRow][column], map[nextRow][nextColumn], right);
  return mix(upper, lower, down);
}

function cell(place, count) {
  const position = Math.min(Math.max(place * count - 0.5, 0), count - 1);
  const first = Math.floor(position);
  return [first, Math.min(first + 1, count - 1), position - first];
}

const mix = (from, to, share) => from + share * (to - from);
