// The grid of layers and experts, on a canvas. States differ by colour and by shape: on disk
// is a small square, in memory a whole one, and what the step at hand needs has a frame.

const HEATS = 16; // shades of an expert in memory, by its recent use
const ARRIVED_MS = 1000; // so long an expert that came counts as just read
const CELL_MAX = 18; // pixels
const LABEL = 22; // room for the layers' numbers

const STATES = {
  d: 'on disk',
  m: 'in memory',
  p: 'in memory, in use by this step',
  r: 'being read for this step',
  a: 'being read ahead',
};

// Set up a canvas for the pixels of the screen; sizes are in those of the page.
export function fitCanvas(canvas) {
  const scale = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const context = canvas.getContext('2d');

  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return { context, width, height };
}

export function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function coloursNow() {
  const shades = [];

  for (let i = 0; i <= HEATS; i++) {
    const part = Math.round((100 * i) / HEATS);
    shades.push(`color-mix(in oklab, ${colourOf('--hot')} ${part}%, ${colourOf('--memory')})`);
  }
  return {
    shades,
    disk: colourOf('--disk'),
    pinned: colourOf('--pinned'),
    reading: colourOf('--reading'),
    ahead: colourOf('--ahead'),
    text: colourOf('--faint'),
    cursor: colourOf('--text'),
  };
}

export class Grid {
  constructor(canvas, output) {
    this.canvas = canvas;
    this.output = output;
    this.cursor = null; // {layer, expert}
    this.arrived = []; // when, by cell
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
    canvas.addEventListener('pointermove', (event) => this.point(event));
    canvas.addEventListener('pointerdown', (event) => this.point(event));
    canvas.addEventListener('keydown', (event) => this.move(event));
  }

  // An answer of GET /experts.
  show(answer) {
    const before = this.answer;
    const now = performance.now();

    answer.states.forEach((row, layer) => {
      for (let expert = 0; expert < row.length; expert++) {
        const was = before?.states[layer]?.[expert];
        if (was && 'dra'.includes(was) && 'mp'.includes(row[expert]))
          this.arrived[layer * answer.n_experts + expert] = now;
      }
    });
    this.answer = answer;
    this.draw();
    if (this.cursor) this.tell();
  }

  // The share of recent tokens that chose an expert, 0 to 1.
  share(layer, expert) {
    return parseInt(this.answer.shares[layer].slice(2 * expert, 2 * expert + 2), 16) / 255;
  }

  // The side of a cell; the canvas is made as high as its rows.
  layOut() {
    const { n_layers: layers, n_experts: experts } = this.answer;
    const room = (this.canvas.clientWidth - LABEL) / experts;

    this.cell = Math.min(CELL_MAX, Math.max(2, room));
    this.canvas.style.height = `${Math.ceil(this.cell * layers)}px`;
  }

  draw() {
    if (!this.answer || this.canvas.clientWidth === 0) return;
    this.layOut();
    const { context, width, height } = fitCanvas(this.canvas);
    const colours = coloursNow();

    context.clearRect(0, 0, width, height);
    this.drawLabels(context, colours);
    this.answer.states.forEach((row, layer) => {
      for (let expert = 0; expert < row.length; expert++)
        this.drawCell(context, colours, layer, expert, row[expert]);
    });
    if (this.cursor) {
      context.strokeStyle = colours.cursor;
      context.lineWidth = 2;
      context.strokeRect(...this.place(this.cursor.layer, this.cursor.expert, 0));
    }
  }

  drawLabels(context, colours) {
    const every = Math.ceil(12 / this.cell);

    context.fillStyle = colours.text;
    context.font = '10px system-ui, sans-serif';
    context.textBaseline = 'middle';
    for (let layer = 0; layer < this.answer.n_layers; layer += every)
      context.fillText(String(this.answer.first_layer + layer), 0, (layer + 0.5) * this.cell);
  }

  // Where a cell's square lies, smaller by inset on each side.
  place(layer, expert, inset) {
    const side = this.cell - 2 * inset;

    return [LABEL + expert * this.cell + inset, layer * this.cell + inset, side, side];
  }

  drawCell(context, colours, layer, expert, state) {
    const { n_experts: experts, n_experts_used: used } = this.answer;
    // four times what it would be if all were chosen alike is as hot as it gets
    const heat = Math.sqrt(Math.min(1, (this.share(layer, expert) * experts) / used / 4));
    const arrived = this.arrived[layer * experts + expert] ?? -Infinity;
    const isNew = 'mp'.includes(state) && performance.now() - arrived < ARRIVED_MS;
    const gap = this.cell > 6 ? 1 : 0.5;

    if (state === 'd') {
      context.globalAlpha = 0.4 + 0.6 * heat;
      context.fillStyle = colours.disk;
      context.fillRect(...this.place(layer, expert, this.cell * 0.33));
      context.globalAlpha = 1;
      return;
    }
    context.fillStyle = colours.shades[Math.round(heat * HEATS)];
    if (state === 'r' || isNew) context.fillStyle = colours.reading;
    if (state === 'a') context.fillStyle = colours.ahead;
    context.fillRect(...this.place(layer, expert, gap));
    if (state === 'p' || state === 'r') {
      context.strokeStyle = colours.pinned;
      context.lineWidth = Math.max(1, this.cell / 6);
      context.strokeRect(...this.place(layer, expert, gap + context.lineWidth / 2));
    }
  }

  point(event) {
    if (!this.answer) return;
    const layer = Math.floor(event.offsetY / this.cell);
    const expert = Math.floor((event.offsetX - LABEL) / this.cell);

    this.setCursor(layer, expert);
  }

  move(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];

    if (!step || !this.answer) return;
    event.preventDefault();
    if (this.cursor) this.setCursor(this.cursor.layer + step[0], this.cursor.expert + step[1]);
    else this.setCursor(0, 0);
  }

  setCursor(layer, expert) {
    const { n_layers: layers, n_experts: experts } = this.answer;

    if (layer < 0 || layer >= layers || expert < 0 || expert >= experts) return;
    this.cursor = { layer, expert };
    this.tell();
    this.draw();
  }

  tell() {
    const { layer, expert } = this.cursor;
    const share = (100 * this.share(layer, expert)).toFixed(0);
    const text = `Layer ${this.answer.first_layer + layer}, expert ${expert}: ` +
      `${STATES[this.answer.states[layer][expert]]}; chosen by ${share} % of recent tokens.`;

    if (this.output.textContent !== text) this.output.textContent = text;
  }
}
