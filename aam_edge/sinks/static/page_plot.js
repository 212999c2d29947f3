// Small plots: the last two minutes of a number, one point a second, newest at the right.

const POINTS = 120;
const FEWEST = 30; // a young plot is spread as if it had so many

export class Plot {
  // colours: one a series. isBars: bars from the bottom instead of lines. floor: least height of the scale.
  constructor(canvas, colours, { isBars = false, floor = 1 } = {}) {
    Object.assign(this, { canvas, colours, isBars, floor, points: [] });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  // values: one a series; null leaves a hole.
  add(...values) {
    this.points.push(values);
    this.points = this.points.slice(-POINTS);
    this.draw();
  }

  draw() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const top = Math.max(this.floor, ...this.points.flat().filter(Number.isFinite)) * 1.1;
    const step = (width - 4) / (Math.max(FEWEST, this.points.length) - 1);
    const x = (i) => width - 2 - (this.points.length - 1 - i) * step;
    const y = (value) => height - 1.5 - (value / top) * (height - 4);
    pen.fillStyle = "#262e3a";
    pen.fillRect(0, height - 1, width, 1);
    this.colours.forEach((colour, series) => {
      const values = this.points.map((point) => point[series]);
      if (this.isBars) drawBars(pen, values, x, y, height, colour);
      else drawLine(pen, values, x, y, height, colour);
    });
  }
}

function drawBars(pen, values, x, y, height, colour) {
  pen.fillStyle = colour;
  values.forEach((value, i) => {
    if (value > 0) pen.fillRect(x(i) - 0.8, y(value), 1.6, height - y(value));
  });
}

function drawLine(pen, values, x, y, height, colour) {
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1.5;
  pen.lineJoin = "round";
  pen.beginPath();
  let isDown = false;
  values.forEach((value, i) => {
    if (Number.isFinite(value)) pen[isDown ? "lineTo" : "moveTo"](x(i), y(value));
    isDown = Number.isFinite(value);
  });
  pen.stroke();
  if (!isDown) return;
  pen.beginPath();
  pen.arc(x(values.length - 1), y(values.at(-1)), 2, 0, 7);
  pen.fill();
}
