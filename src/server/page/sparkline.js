// A running line of one number: the newest at the right, gaps where there was none.

import { fitCanvas, colourOf } from './grid.js';

const N_MAX = 120;

export class Sparkline {
  // figure holds an output for the newest value and a canvas. top: the value at the upper
  // edge; without it, the largest that is shown.
  constructor(figure, format, top) {
    this.output = figure.querySelector('output');
    this.canvas = figure.querySelector('canvas');
    this.format = format;
    this.top = top;
    this.values = [];
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  add(value) {
    this.values.push(value);
    if (this.values.length > N_MAX) this.values.shift();
    this.output.textContent = value === null ? '–' : this.format(value);
    this.draw();
  }

  draw() {
    const { context, width, height } = fitCanvas(this.canvas);
    const top = this.top ?? Math.max(1, ...this.values);
    const step = width / (N_MAX - 1);
    let isDrawing = false;

    context.clearRect(0, 0, width, height);
    context.strokeStyle = colourOf('--line');
    context.lineWidth = 1.5;
    context.beginPath();
    this.values.forEach((value, i) => {
      const x = width - (this.values.length - 1 - i) * step;
      const y = height - 1 - (value / top) * (height - 2);

      if (value === null) isDrawing = false;
      else if (isDrawing) context.lineTo(x, y);
      else context.moveTo(x - step / 2, y), context.lineTo(x, y);
      isDrawing = value !== null;
    });
    context.stroke();
  }
}
