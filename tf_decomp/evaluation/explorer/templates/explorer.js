// SPDX-License-Identifier: Apache-2.0
"use strict";
const byId = (id) => document.getElementById(id);
const page = JSON.parse(byId("page").textContent);
const dimensions = Object.keys(page.dims).length;
const sliders = [...document.querySelectorAll(".slider")].map((row) => ({
  dimension: Number(row.dataset.dimension),
  input: row.querySelector("input"),
  output: row.querySelector("output"),
  begin: row.querySelector(".begin"),
  ...page.dims[row.dataset.dimension],
}));
const RAMP = [[68, 70, 170], [30, 150, 140], [245, 205, 40]];
const z = new Float32Array(dimensions); // where one is
const parts = {}; // codes, data, draws
let start = 0; // the example that one came from
let decoded = null;
let planes = []; // functions that draw a scatter anew
let alone = null; // the only level shown

// -- what the page holds ------------------------------------------------------------

async function unpack(id) {
  const text = atob(byId(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream();
  return new Response(stream.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function openDecoder() {
  const code = new Blob([await unpack("runtime-code")], { type: "text/javascript" });
  const ort = await import(URL.createObjectURL(code));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpack("runtime-wasm");
  const session = await ort.InferenceSession.create(await unpack("decoder"));
  return async (latents) => {
    const tensor = new ort.Tensor("float32", latents, [1, dimensions]);
    const outputs = await session.run({ [session.inputNames[0]]: tensor });
    return outputs[session.outputNames[0]].data;
  };
}

const codeOf = (i) => parts.codes.subarray(i * dimensions, (i + 1) * dimensions);

function exampleOf(i) {
  const size = page.shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from(parts.data.subarray(i * size, (i + 1) * size));
  if (page.kind !== "image") return values;
  return values.map((v) => page.range[0] + (v / 255) * (page.range[1] - page.range[0]));
}

function describe(i) {
  const levels = page.colourings.map((c) => `${c.name} ${c.levels[c.values[i]]}`);
  return [`test example ${page.rows[i] + 1}`, ...levels].join(", ");
}

// -- where one is -------------------------------------------------------------------

/** Returns what a list has at a position between two of its numbers. */
function between(numbers, position) {
  const lower = Math.min(Math.floor(position), numbers.length - 2);
  const part = position - lower;
  return (1 - part) * numbers[lower] + part * numbers[lower + 1];
}

/** Returns the position of a slider that is nearest to z. */
function positionOf(slider, value) {
  const above = slider.z.findIndex((v) => v > value);
  if (above === 0) return 0;
  if (above < 0) return slider.z.length - 1;
  const [low, high] = [slider.z[above - 1], slider.z[above]];
  return above - 1 + (value - low) / (high - low);
}

function show(slider, position) {
  const value = sign(z[slider.dimension].toFixed(2));
  const share = 100 * between(slider.share, position);
  const words =
    share < 0.5 ? "< 0.5 %" : share > 99.5 ? "> 99.5 %" : `${share.toFixed(1)} %`;
  slider.output.innerHTML = `<b>${value}</b> &nbsp;${words.replace("<", "&lt;")}`;
  slider.input.setAttribute("aria-valuetext", `${value}, ${words} of the prior`);
}

/** Goes to a whole code, or to some dimensions of one. */
function go(values) {
  for (const slider of sliders) {
    if (!(slider.dimension in values)) continue;
    z[slider.dimension] = values[slider.dimension];
    const position = positionOf(slider, z[slider.dimension]);
    slider.input.value = position;
    show(slider, position);
  }
  decodeSoon();
}

function startFrom(i) {
  start = i;
  for (const slider of sliders) {
    const position = positionOf(slider, codeOf(i)[slider.dimension]);
    slider.begin.style.setProperty("--from", position / (slider.z.length - 1));
  }
  for (const radio of document.querySelectorAll(".start input")) {
    radio.checked = Number(radio.value) === i;
  }
  byId("state").textContent = `Started from ${describe(i)}.`;
  const original = byId("original");
  if (original) {
    const known = i < page.pictured;
    original.style.visibility = known ? "visible" : "hidden";
    if (known) paint(original, exampleOf(i));
    byId("original-text").textContent = known ? "Start" : "Start: not in this page";
  }
  go(codeOf(i));
}

// -- what is drawn ------------------------------------------------------------------

const sign = (number) => String(number).replace("-", "−");
const css = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Returns a canvas's context in CSS pixels, cleared, and its size. */
function sheet(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = `11px ${css("--sans")}`;
  return { context, width, height };
}

/** Draws an image; of neither 1 nor 3 channels, the first. */
function paint(canvas, values) {
  const [height, width, channels] = page.shape;
  const [low, high] = page.range;
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < 3; c += 1) {
      const value = values[i * channels + (channels === 3 ? c : 0)];
      image.data[4 * i + c] = (255 * (value - low)) / (high - low);
    }
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Draws a vector as bars from 0, and another one as lines across them. */
function drawBars(canvas, values, other = null) {
  const { context, width, height } = sheet(canvas);
  const small = width < 100;
  const [low, high] = [Math.min(0, page.range[0]), Math.max(0, page.range[1])];
  const [left, edge] = small ? [2, 2] : [40, 18];
  const y = (v) => height - edge - ((v - low) / (high - low || 1)) * (height - 2 * edge);
  const step = (width - left - 4) / values.length;
  const thick = Math.max(1, step * 0.7);
  values.forEach((value, j) => {
    const x = left + (j + 0.5) * step - thick / 2;
    context.fillStyle = css("--accent");
    context.fillRect(x, Math.min(y(0), y(value)), thick, Math.abs(y(value) - y(0)));
    if (!other) return;
    context.fillStyle = css("--chance");
    context.fillRect(x - 0.1 * step, y(other[j]) - 1, thick + 0.2 * step, 2.5);
  });
  context.fillStyle = css("--muted");
  context.fillRect(left, y(0), width - left - 4, 1);
  if (small) return;
  context.textAlign = "right";
  for (const value of new Set([low, 0, high])) {
    context.fillText(sign(Number(value.toPrecision(2))), left - 6, y(value) + 4);
  }
  context.textAlign = "center";
  const each = Math.ceil(values.length / 12);
  for (let j = 0; j < values.length; j += each) {
    context.fillText(j + 1, left + (j + 0.5) * step, height - 4);
  }
}

function drawDecoded() {
  const known = start < page.pictured;
  if (page.kind === "image") paint(byId("decoded"), decoded);
  if (page.kind === "bars") {
    drawBars(byId("decoded"), decoded, known ? exampleOf(start) : null);
  }
  for (const draw of planes) draw();
}

function drawStarts() {
  document.querySelectorAll(".start canvas").forEach((canvas, i) => {
    if (page.kind === "image") paint(canvas, exampleOf(i));
    else drawBars(canvas, exampleOf(i));
  });
}

function colourOf(level, count) {
  if (count <= page.palette.length) {
    const colour = page.palette[level];
    return colour === "#000000" ? css("--text") : colour;
  }
  const at = (level / (count - 1)) * (RAMP.length - 1);
  const lower = Math.min(Math.floor(at), RAMP.length - 2);
  const mixed = RAMP[lower].map((c, k) => c + (at - lower) * (RAMP[lower + 1][k] - c));
  return `rgb(${mixed.map(Math.round).join(" ")})`;
}

const colouring = () => page.colourings[Number(byId("colouring")?.value ?? -1)];

function drawLegend() {
  const { levels = [] } = colouring() ?? {};
  const legend = byId("legend");
  legend.replaceChildren();
  if (levels.length > page.palette.length) {
    const ramp = document.createElement("span");
    ramp.className = "ramp";
    const colours = levels.map((_, level) => colourOf(level, levels.length));
    ramp.style.background = `linear-gradient(to right, ${colours.join(", ")})`;
    legend.append(levels[0], ramp, levels.at(-1));
    return;
  }
  levels.forEach((name, level) => {
    const button = document.createElement("button");
    const swatch = document.createElement("i");
    swatch.style.background = colourOf(level, levels.length);
    button.type = "button";
    button.append(swatch, name);
    button.setAttribute("aria-pressed", level === alone);
    button.addEventListener("click", () => {
      alone = level === alone ? null : level;
      [...legend.children].forEach((other, k) => {
        other.setAttribute("aria-pressed", k === alone);
      });
      for (const draw of planes) draw();
    });
    legend.append(button);
  });
}

/** Returns round numbers between two. */
function ticks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((s) => s * power >= rough);
  const first = Math.ceil(low / step);
  const count = Math.floor(high / step) - first + 1;
  return Array.from({ length: count }, (_, k) => Number(((first + k) * step).toPrecision(6)));
}

/**
 * Makes a canvas a scatter of examples that one can start from.
 *
 * `count` examples lie at `pointOf(i)`, one is at `here()`; `extent()` is the low and
 * high end of each axis. Points `behind()` are crosses, and `names()` are words at
 * places. With `move`, the place where one is can be dragged, with `keys` moved by keys.
 */
function scatter(canvas, options) {
  const { count, pointOf, here, extent, move, keys } = options;
  const { behind = () => [], names = () => [] } = options;
  const margin = 34;
  let dragging = false;
  const placeOf = (event) => [event.offsetX, event.offsetY];
  const scales = () => {
    const { clientWidth: width, clientHeight: height } = canvas;
    const [[x0, x1], [y0, y1]] = extent();
    const [across, up] = [(width - margin - 10) / (x1 - x0), (height - margin - 10) / (y1 - y0)];
    return {
      to: ([x, y]) => [margin + (x - x0) * across, height - margin - (y - y0) * up],
      from: (x, y) => [x0 + (x - margin) / across, y0 + (height - margin - y) / up],
    };
  };
  const isShown = (i) => alone === null || colouring()?.values[i] === alone;

  function draw() {
    const { context, width, height } = sheet(canvas);
    const { to } = scales();
    const { values, levels } = colouring() ?? {};
    const muted = css("--muted");
    const [xs, ys] = extent();
    context.fillStyle = muted;
    context.strokeStyle = css("--rule");
    context.beginPath();
    for (const tick of ticks(...xs)) {
      const [x] = to([tick, ys[0]]);
      context.moveTo(x, 4);
      context.lineTo(x, height - margin);
      context.textAlign = "center";
      context.fillText(sign(tick), x, height - margin + 16);
    }
    for (const tick of ticks(...ys)) {
      const [, y] = to([xs[0], tick]);
      context.moveTo(margin, y);
      context.lineTo(width - 4, y);
      context.textAlign = "right";
      context.fillText(sign(tick), margin - 6, y + 4);
    }
    context.stroke();
    context.save();
    context.beginPath();
    context.rect(margin, 0, width - margin, height - margin);
    context.clip();
    context.strokeStyle = muted;
    context.globalAlpha = 0.6;
    context.beginPath();
    for (const point of behind()) {
      const [x, y] = to(point);
      context.moveTo(x - 2.5, y - 2.5);
      context.lineTo(x + 2.5, y + 2.5);
      context.moveTo(x - 2.5, y + 2.5);
      context.lineTo(x + 2.5, y - 2.5);
    }
    context.stroke();
    context.globalAlpha = 1;
    context.lineWidth = 0.5;
    context.strokeStyle = css("--page");
    const colours = levels?.map((_, level) => colourOf(level, levels.length));
    const plain = css("--accent");
    for (let i = 0; i < count; i += 1) {
      if (!isShown(i)) continue;
      context.fillStyle = colours ? colours[values[i]] : plain;
      context.beginPath();
      context.arc(...to(pointOf(i)), 3, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
    context.font = `bold 15px ${css("--sans")}`;
    context.textAlign = "center";
    names().forEach(([name, place]) => {
      const [x, y] = to(place);
      context.lineWidth = 4;
      context.strokeStyle = css("--raised");
      context.strokeText(name, x, y + 5);
      context.fillStyle = css("--text");
      context.fillText(name, x, y + 5);
    });
    for (const [thick, colour] of [[6, css("--page")], [3, css("--text")]]) {
      context.lineWidth = thick;
      context.strokeStyle = colour;
      context.beginPath();
      context.arc(...to(here()), 8, 0, 2 * Math.PI);
      context.stroke();
    }
    context.restore();
  }

  /** Starts from the example that is nearest to a place, if one is near enough. */
  function pick([x, y], reach) {
    const { to } = scales();
    let [nearest, least] = [-1, reach];
    for (let i = 0; i < count; i += 1) {
      const [px, py] = to(pointOf(i));
      const distance = Math.hypot(px - x, py - y);
      if (isShown(i) && distance < least) [nearest, least] = [i, distance];
    }
    if (nearest >= 0) startFrom(nearest);
  }

  canvas.addEventListener("pointerdown", (event) => {
    const at = placeOf(event);
    const [x, y] = scales().to(here());
    dragging = Boolean(move) && Math.hypot(x - at[0], y - at[1]) < 14;
    if (dragging) canvas.setPointerCapture(event.pointerId);
    else pick(at, 24);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (dragging) move(scales().from(...placeOf(event)));
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => { dragging = false; });
  }
  // A finger that drags the place does not scroll the page.
  canvas.addEventListener("touchstart", (event) => {
    if (dragging) event.preventDefault();
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Enter") pick(scales().to(here()), Infinity);
    else if (!keys || !keys(event.key)) return;
    event.preventDefault();
  });
  planes.push(draw);
}

/** Moves a slider by steps, and where one is with it. */
function nudge(slider, steps) {
  slider.input.value = Number(slider.input.value) + steps;
  slider.input.dispatchEvent(new Event("input"));
}

function makeScatters() {
  const axes = [byId("axis-x"), byId("axis-y")];
  const chosen = () => axes.map((axis) => Number(axis.value));
  const sliderOf = (dimension) => sliders.find((s) => s.dimension === dimension);
  const widen = ([low, high], share) => {
    const more = (high - low || 1) * share;
    return [low - more, high + more];
  };
  const at = (values, offset) => chosen().map((d) => values[offset + d]);
  scatter(byId("scatter"), {
    count: page.rows.length,
    pointOf: (i) => at(parts.codes, i * dimensions),
    here: () => at(z, 0),
    behind: () => Array.from(
      { length: parts.draws.length / dimensions }, (_, i) => at(parts.draws, i * dimensions)),
    names: () => (page.places.length < 2 ? [] : page.places.map((place, k) => [k + 1, at(place, 0)])),
    extent: () => chosen().map((d) => widen([page.dims[d].z[0], page.dims[d].z.at(-1)], 0.04)),
    move: (place) => go(Object.fromEntries(chosen().map((d, k) => [d, place[k]]))),
    keys: (key) => {
      const moved = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1] }[key];
      if (moved) nudge(sliderOf(chosen()[moved[0]]), moved[1]);
      return Boolean(moved);
    },
  });
  if (page.kind === "points") {
    scatter(byId("plane"), {
      count: page.pictured,
      pointOf: (i) => parts.data.subarray(2 * i, 2 * i + 2),
      here: () => decoded ?? [NaN, NaN],
      extent: () => [widen(page.range, 0.08), widen(page.range, 0.08)],
    });
  }
  const drawAll = () => { for (const draw of planes) draw(); };
  for (const axis of axes) axis.addEventListener("change", drawAll);
  byId("colouring")?.addEventListener("change", () => {
    alone = null;
    drawLegend();
    drawAll();
  });
}

// -- decoding -----------------------------------------------------------------------

let decode = null;
let busy = false;
let wanted = false;

/** Decodes where one is; while that runs, only the newest place waits. */
async function decodeSoon() {
  wanted = true;
  if (busy) return;
  busy = true;
  while (wanted) {
    wanted = false;
    const latents = z.slice();
    const began = performance.now();
    decoded = await decode(latents);
    const milliseconds = performance.now() - began;
    window.explorer = { latents, decoded, milliseconds, start };
    drawDecoded();
    await new Promise(requestAnimationFrame);
  }
  busy = false;
}

/** Says how far the decoder is from what TensorFlow decoded. */
async function check() {
  const expected = new Float32Array(await unpack("reference"));
  const values = await decode(codeOf(0).slice());
  const size = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 1);
  const apart = values.reduce((most, v, i) => Math.max(most, Math.abs(v - expected[i])), 0);
  byId("check").textContent =
    `Its numbers differ from TensorFlow’s by at most ${apart.toExponential(0)} (checked here, at one example).`;
  if (!(apart <= 1e-4 * size)) throw new Error(`decoded numbers are ${apart} off TensorFlow’s`);
}

function listen() {
  for (const slider of sliders) {
    const { input } = slider;
    input.addEventListener("input", () => {
      z[slider.dimension] = between(slider.z, Number(input.value));
      show(slider, Number(input.value));
      decodeSoon();
    });
    input.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (!steps) return;
      event.preventDefault();
      nudge(slider, steps);
    });
  }
  for (const radio of document.querySelectorAll(".start input")) {
    radio.addEventListener("change", () => startFrom(Number(radio.value)));
  }
  for (const button of document.querySelectorAll(".place")) {
    button.addEventListener("click", () => go(page.places[button.dataset.place]));
  }
  byId("back").addEventListener("click", () => go(codeOf(start)));
  byId("draw").addEventListener("click", () => {
    const row = Math.floor((Math.random() * parts.draws.length) / dimensions);
    go(parts.draws.subarray(row * dimensions, (row + 1) * dimensions));
  });
  const redraw = () => {
    drawLegend();
    drawStarts();
    if (decoded) drawDecoded();
  };
  new ResizeObserver(redraw).observe(document.querySelector("main"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

async function open() {
  const numbers = page.kind === "image" ? Uint8Array : Float32Array;
  parts.codes = new Float32Array(await unpack("codes"));
  parts.draws = new Float32Array(await unpack("draws"));
  parts.data = new numbers(await unpack("data"));
  decode = await openDecoder();
  await check();
  makeScatters();
  listen();
  for (const control of document.querySelectorAll(":disabled")) control.disabled = false;
  drawLegend();
  drawStarts();
  startFrom(0);
}

window.addEventListener("unhandledrejection", ({ reason }) => {
  byId("state").textContent = `The decoder cannot run in this browser: ${reason.message}`;
  byId("state").className = "warning";
});
byId("licence").addEventListener("toggle", async () => {
  byId("licence").lastElementChild.textContent = new TextDecoder().decode(await unpack("notices"));
});
open();
