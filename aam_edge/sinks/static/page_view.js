// The picture with map, targets and gaze.
//
// Geometry (messages.py): points are source pixels, (0, 0) is the centre of the top left pixel, so a
// point lies (x + 0.5) scale from the left edge. A map of w cells covers the picture's whole width, so
// stretching its w x h canvas over the picture puts each cell where it belongs.

// Colours over the square root of density / peak, dark to light; the picture shows through the dark end.
const STOPS = [[40, 20, 90], [110, 25, 125], [190, 45, 105], [240, 105, 60], [255, 180, 70], [255, 240, 170]];
const COLOURS = makeColours();
const WHITE = "#ffffff"; // the one colour that neither the picture's heat nor the gaze has
const AMBER = "#ffb454";
const CYAN = "#6fd3ff";

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.heat = document.createElement("canvas");
    this.options = { opacity: 0.7, map: true, targets: true, gaze: true };
    this.picture = this.header = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // picture: ImageBitmap, taken over. cells: Uint8Array of h w, or empty.
  show(picture, header, cells) {
    this.picture?.close();
    Object.assign(this, { picture, header });
    if (header.map) this.colour(cells, ...header.map);
    this.draw();
    this.canvas.dataset.frame = header.frame_id;
  }

  colour(cells, h, w) {
    this.heat.width = w;
    this.heat.height = h;
    const pen = this.heat.getContext("2d");
    const pixels = pen.createImageData(w, h);
    const words = new Uint32Array(pixels.data.buffer);
    cells.forEach((cell, i) => { words[i] = COLOURS[cell]; });
    pen.putImageData(pixels, 0, 0);
  }

  draw() {
    if (!this.picture) return;
    const ratio = window.devicePixelRatio || 1;
    const { canvas, header, options } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.picture, 0, 0, width, height);
    if (header.map && options.map) {
      pen.globalAlpha = options.opacity;
      pen.drawImage(this.heat, 0, 0, width, height);
      pen.globalAlpha = 1;
    }
    const attention = header.attention;
    if (!attention) return;
    const place = { pen, width, height, scale: width / header.image[0] };
    if (options.targets) {
      // The best one last, so that it lies on top.
      attention.targets.map((target, rank) => [target, rank]).reverse()
        .forEach(([target, rank]) => drawTarget(place, target, rank));
    }
    if (options.gaze && attention.gaze) drawGaze(place, attention.gaze);
  }
}

function makeColours() {
  const bytes = new Uint8ClampedArray(256 * 4);
  for (let cell = 0; cell < 256; cell += 1) {
    const value = cell / 255;
    const at = Math.min(value * (STOPS.length - 1), STOPS.length - 1.001);
    const [low, high] = [STOPS[Math.floor(at)], STOPS[Math.floor(at) + 1]];
    const rgb = low.map((from, i) => from + (high[i] - from) * (at % 1));
    // Nothing below a fiftieth of the peak: a haze over the whole picture says nothing.
    bytes.set([...rgb, 255 * Math.min(1, Math.max(0, (value - 0.14) / 0.6))], cell * 4);
  }
  return new Uint32Array(bytes.buffer);
}

function drawTarget({ pen, width, height, scale }, target, rank) {
  const [x, y] = [(target.x + 0.5) * scale, (target.y + 0.5) * scale];
  const radius = Math.max(7, 2 * target.sigma_px * scale);
  pen.globalAlpha = rank === 0 ? 1 : 0.7;
  stroke(pen, rank === 0 ? 2.5 : 1.5, WHITE, () => pen.arc(x, y, radius, 0, 2 * Math.PI));
  pen.globalAlpha = 1;
  const text = `${rank + 1}  ${(100 * target.score).toFixed(0)} %`;
  pen.font = "600 12px system-ui, sans-serif";
  const wide = pen.measureText(text).width + 12;
  // On the circle's upper right, but always inside the picture.
  const left = Math.min(Math.max(2, x + radius * 0.7), width - wide - 2);
  const top = Math.min(Math.max(2, y - radius * 0.7 - 18), height - 20);
  pen.fillStyle = rank === 0 ? AMBER : "#10141acc";
  pen.beginPath();
  pen.roundRect(left, top, wide, 18, 9);
  pen.fill();
  pen.fillStyle = rank === 0 ? "#1b1206" : WHITE;
  pen.textBaseline = "middle";
  pen.fillText(text, left + 6, top + 9.5);
}

function drawGaze({ pen, scale }, gaze) {
  const [x, y] = [(gaze.x + 0.5) * scale, (gaze.y + 0.5) * scale];
  stroke(pen, 3, CYAN, () => {
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 4 * dx, y + 4 * dy);
      pen.lineTo(x + 13 * dx, y + 13 * dy);
    }
  });
}

// A line with a dark rim, to be seen on any picture.
function stroke(pen, lineWidth, colour, path) {
  for (const [style, extra] of [["#000000c0", 2], [colour, 0]]) {
    pen.strokeStyle = style;
    pen.lineWidth = lineWidth + extra;
    pen.beginPath();
    path();
    pen.stroke();
  }
}
