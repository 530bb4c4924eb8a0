// The page: what people see and touch. Every feature draws from one state: the image, its codes, the position chosen.

const $ = (id) => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && typeof value !== "string") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
};
const nextFrame = () => new Promise((done) => setTimeout(done, 0));
const readable = (value) => (Math.abs(value) >= 1000 ? value.toFixed(0) : Number(value.toPrecision(3)).toString());

// ---------------------------------------------------------------- the page's data
const data = JSON.parse($("data").textContent);
const bytesOf = (text) => {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
};
const weights = bytesOf($("weights").textContent.trim());
const started = performance.now();
const { tokenizer, prior } = openModels(data, weights.buffer);
const [H, W] = tokenizer.size, [h, w] = tokenizer.grid, C = tokenizer.channels, n = tokenizer.perPosition, f = tokenizer.factor;
const POSITIONS = h * w, LENGTH = POSITIONS * n, K = tokenizer.numCodes;
const state = { pixels: null, z_e: null, codes: null, before: [], own: null, output: null, at: Math.floor(h / 2) * w + Math.floor(w / 2), place: 0, samples: [], examples: [], busy: 0 };

const say = (text, bad = false) => {
  $("message").textContent = text;
  $("message").classList.toggle("bad", bad);
  $("message").hidden = !text;
};
// runs one thing at a time; a newer request ends the loop of an older one at its next step
const guarded = (work) => async (...given) => {
  const own = ++state.busy;
  try {
    await work(...given, () => state.busy !== own);
  } catch (error) {
    say(error.message, true);
  }
};

// ---------------------------------------------------------------- drawing
const draw = (canvas, pixels, channels = C, height = H, width = W) => {
  canvas.width = width;
  canvas.height = height;
  const own = canvas.getContext("2d").createImageData(width, height), area = height * width;
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) own.data[4 * i + c] = pixels[(channels === 1 ? 0 : c) * area + i];
    own.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(own, 0, 0);
  return canvas;
};
const MAGMA = [[0, 0, 4], [28, 16, 68], [79, 18, 123], [129, 37, 129], [181, 54, 122], [229, 80, 100], [251, 135, 97], [254, 194, 135], [252, 253, 191]];
const heat = (share) => {
  const at = Math.min(1, Math.max(0, share)) * 8, low = Math.min(7, Math.floor(at));
  return MAGMA[low].map((v, c) => Math.round(v + (MAGMA[low + 1][c] - v) * (at - low)));
};
const colourOf = (code) => (data.colours ? data.colours[code] : [0, 8, 4].map((shift) => {
  const x = (shift + (code * 222.49223594996215) / 30) % 12;
  return Math.round(255 * (0.55 - 0.3 * Math.max(-1, Math.min(x - 3, 9 - x, 1))));
}));
const inkOn = ([r, g, b]) => (0.3 * r + 0.59 * g + 0.11 * b > 120 ? "#111" : "#fff");
const canvasOf = (pixels) => draw(make("canvas", { class: "exact" }), pixels);
const decoded = (codes) => pixelsOf(tokenizer.decode(tensor("i", [1, h, w, n], Float64Array.from(codes))));
const decodedAll = (many) => {
  const all = tensor("i", [many.length, h, w, n]);
  many.forEach((codes, i) => all.data.set(codes, i * LENGTH));
  const pixels = pixelsOf(tokenizer.decode(all)), each = C * H * W;
  return many.map((_, i) => pixels.subarray(i * each, (i + 1) * each));
};
const positionWords = (at, columns = w) => `row ${Math.floor(at / columns) + 1}, column ${(at % columns) + 1}`;

// A grid of positions with a roving focus: arrows move, Enter and Space choose
const positionGrid = (node, { name, choose, hover = () => {}, rows = h, columns = w }) => {
  node.style.setProperty("--columns", columns);
  node.classList.toggle("dense", columns > 16);
  node.setAttribute("role", "grid");
  node.setAttribute("aria-label", name);
  const cells = Array.from({ length: rows * columns }, (_, at) => make("button", {
    type: "button", tabindex: at ? "-1" : "0", "aria-label": positionWords(at, columns),
    onclick: () => choose(at), onpointerenter: () => hover(at), onfocus: () => hover(at),
  }));
  node.replaceChildren(...cells);
  node.onkeydown = (event) => {
    const at = cells.indexOf(document.activeElement), by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (at < 0 || !by || at + by < 0 || at + by >= cells.length) return;
    event.preventDefault();
    cells[at].tabIndex = -1;
    cells[at + by].tabIndex = 0;
    cells[at + by].focus();
  };
  return cells;
};

// ---------------------------------------------------------------- an image, its reconstruction, its codes
const codeAt = (at, place = state.place) => state.codes[at * n + place];
const setCodes = (codes) => {
  state.codes = Float64Array.from(codes);
  show();
};
const setImage = (pixels) => {
  const begun = performance.now();
  state.pixels = pixels;
  state.z_e = tokenizer.latents(imagesOf(pixels, [1, C, H, W]));
  state.own = Float64Array.from(tokenizer.quantize(state.z_e).data);
  state.before = [];
  setCodes(state.own);
  document.documentElement.dataset.reconstruction = (performance.now() - begun).toFixed(1);
};
const openSample = (codes) => { // an image that has codes and no original: its reconstruction stands for it
  forgetPaint();
  state.pixels = decoded(codes);
  state.z_e = tokenizer.embed(tensor("i", [1, h, w, n], Float64Array.from(codes)));
  state.own = Float64Array.from(codes);
  state.before = [];
  setCodes(codes);
  $("image").scrollIntoView({ behavior: "smooth" });
};
const show = () => {
  state.output = decoded(state.codes);
  draw($("original"), state.pixels);
  draw($("reconstruction"), state.output);
  const errors = new Float64Array(H * W);
  let squares = 0;
  for (let i = 0; i < C * H * W; i++) {
    const error = Math.abs(state.pixels[i] - state.output[i]);
    errors[i % (H * W)] += error / C;
    squares += error * error;
  }
  const most = Math.max(16, topOf(errors)), map = new Uint8ClampedArray(3 * H * W);
  errors.forEach((error, i) => heat(error / most).forEach((v, c) => { map[c * H * W + i] = v; }));
  draw($("error"), map, 3);
  const psnr = 10 * Math.log10((255 * 255) / (squares / (C * H * W)));
  $("psnr").textContent = squares ? `PSNR ${psnr.toFixed(2)} dB` : "no error";
  $("scale").textContent = `bright is an error of ${Math.round(most)} of 255`;
  const changed = state.codes.reduce((sum, code, i) => sum + (code !== state.own[i]), 0);
  $("changed").textContent = changed ? `${changed} of ${LENGTH} codes changed` : `${LENGTH} codes, ${new Set(state.codes).size} different`;
  $("undo").disabled = !state.before.length;
  $("reset").disabled = !changed;
  codeCells.forEach((cell, at) => {
    const code = codeAt(at), colour = colourOf(code);
    cell.textContent = code;
    cell.style.background = `rgb(${colour})`;
    cell.style.color = inkOn(colour);
    cell.setAttribute("aria-label", `${positionWords(at)}: code ${code}`);
    cell.classList.toggle("changed", Array.from({ length: n }, (_, p) => codeAt(at, p) !== state.own[at * n + p]).some(Boolean));
  });
  inspect(state.at);
  drawHole();
  showCanvasBefore();
};
const swap = (code) => {
  if (!Number.isInteger(code) || code < 0 || code >= K) { say(`a code is a whole number from 0 to ${K - 1}`, true); return; }
  say("");
  state.before.push(state.codes.slice());
  const codes = state.codes.slice();
  codes[state.at * n + state.place] = code;
  setCodes(codes);
};
const patchOf = (pixels, row, column, around = 1) => { // the pixels of a position, framed, and of its neighbours
  const side = f * (1 + 2 * around), canvas = make("canvas", { class: "exact", width: side, height: side });
  const picture = canvasOf(pixels), frame = make("span", { class: "patch", style: `--around: ${around / (1 + 2 * around)}` }, canvas), left = (column - around) * f, top = (row - around) * f;
  const pen = canvas.getContext("2d");
  pen.fillStyle = "#8888";
  pen.fillRect(0, 0, side, side);
  pen.drawImage(picture, left, top, side, side, 0, 0, side, side);
  return frame;
};
const distancesFrom = (vector, vectors) => {
  const d = vector.length, found = new Float64Array(vectors.length / d);
  for (let k = 0; k < found.length; k++) {
    let sum = 0;
    for (let c = 0; c < d; c++) sum += (vector[c] - vectors[k * d + c]) ** 2;
    found[k] = Math.sqrt(sum);
  }
  return found;
};
const vectorAt = (map, at) => Float64Array.from({ length: map.shape[1] }, (_, c) => map.data[c * POSITIONS + at]);
const everyCode = K <= data.mostCompared ? Array.from({ length: K }, (_, k) => k) : null;
const compared = () => everyCode || Array.from(new Set(codeCells.map((_, at) => codeAt(at)))).sort((a, b) => a - b);
let known = { key: "", codes: [], vectors: null };
const codeVectors = (at) => { // of the codes compared, at a position; for n = 1 they are the same everywhere
  const own = Array.from({ length: n }, (_, p) => codeAt(at, p)), codes = compared();
  const key = `${everyCode ? "all" : codes} ${n === 1 ? "" : `${own} ${state.place}`}`;
  if (known.key !== key) known = { key, codes, vectors: tokenizer.vectors(codes, own, state.place) };
  return known;
};
const vectorOf = (code, { codes, vectors }) => {
  const i = everyCode ? code : codes.indexOf(code), d = vectors.length / codes.length;
  return vectors.subarray(i * d, (i + 1) * d);
};
const nearestCodes = (vector, { codes, vectors }) => { // pairs of a distance and a code, the nearest first
  const far = distancesFrom(vector, vectors);
  return codes.map((code, i) => [far[i], code]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
};
const chip = (code, words, pressed) => make("button", {
  type: "button", class: "chip", "aria-pressed": String(!!pressed), style: `--ink: rgb(${colourOf(code)})`, title: `put code ${code} here`, onclick: () => swap(code),
}, make("b", {}, String(code)), make("small", {}, words));
const inspect = (at) => {
  state.at = at;
  codeCells.forEach((cell, i) => cell.classList.toggle("chosen", i === at));
  holeCells.forEach((cell, i) => cell.classList.toggle("chosen", i === at));
  const code = codeAt(at), vectors = codeVectors(at), near = nearestCodes(vectorOf(code, vectors), vectors);
  $("where").textContent = `${positionWords(at)}${n > 1 ? `, code ${state.place + 1} of ${n}` : ""}`;
  $("code").value = code;
  $("use").textContent = data.counts ? `used ${data.counts[code].toLocaleString("en")} times in ${data.counted.toLocaleString("en")} ${data.countedWords} (${readable((100 * data.counts[code]) / data.counts.reduce((a, b) => a + b, 0))} %)` : "";
  $("neighbours").replaceChildren(...near.filter(([, k]) => k !== code).slice(0, 8).map(([far, k]) => chip(k, readable(far))));
  const own = ((data.places || {})[code] || []).filter(([image]) => state.examples[image]);
  $("patches").replaceChildren(...own.map(([image, row, column]) => patchOf(state.examples[image], row, column)));
  $("patch-words").textContent = own.length ? "Patches of the page's images with this code, with their surroundings" : "No patch of the page's images has this code.";
  explain(at);
};

// ---------------------------------------------------------------- files
const FEW = 4e6, MOST = 120e6; // pixels: above FEW the browser shrinks first, above MOST a file is refused
const openFile = guarded(async (file) => {
  say(`reading ${file.name || "the image"} …`);
  let picture;
  try {
    picture = await createImageBitmap(file);
  } catch {
    say(`${file.name || "this"} is no image that this browser can read`, true);
    return;
  }
  const { width, height } = picture, area = width * height;
  if (area > MOST) { say(`${file.name}: ${Math.round(area / 1e6)} megapixels; at most ${MOST / 1e6} can be opened`, true); return; }
  const shrink = Math.min(1, Math.sqrt(FEW / area)), canvas = make("canvas", { width: Math.max(1, Math.round(width * shrink)), height: Math.max(1, Math.round(height * shrink)) });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff"; // behind transparent pixels, as vqvae reads them
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  await nextFrame();
  const { pixels, how } = fitted(pen.getImageData(0, 0, canvas.width, canvas.height), tokenizer);
  forgetPaint();
  setImage(pixels);
  const first = shrink < 1 ? `the browser shrank it from ${width}×${height} first; ` : "";
  say(how ? `${file.name || "the image"}: ${first}${how}` : `${file.name || "the image"}: opened as it is`);
});
const listenForFiles = () => {
  $("file").addEventListener("change", (event) => { if (event.target.files[0]) openFile(event.target.files[0]); event.target.value = ""; });
  for (const name of ["dragover", "dragenter"]) document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer.files[0];
    if (file) openFile(file);
    else say("what was dropped is no file", true);
  });
  document.addEventListener("paste", (event) => {
    const file = Array.from(event.clipboardData.files)[0];
    if (file) openFile(file);
    else if (event.target === document.body) say("the clipboard holds no image", true);
  });
};

// ---------------------------------------------------------------- the prior
const number = (id) => { const own = $(id).value.trim(); return own === "" ? null : Number(own); };
const refused = (id, message) => { $(id).focus(); throw new Error(message); };
const controls = (temperatureId = "temperature") => {
  const temperature = number(temperatureId) ?? 1, topK = number("top-k"), topP = number("top-p"), guidance = number("guidance") ?? 1, label = $("label").value === "" ? null : Number($("label").value);
  if (!(temperature >= 0)) refused(temperatureId, "temperature: must be 0 or more");
  if (topK !== null && !(Number.isInteger(topK) && topK >= 1)) refused("top-k", "top-k: must be a whole number, 1 or more");
  if (topP !== null && !(topP > 0 && topP <= 1)) refused("top-p", "top-p: must be above 0 and at most 1");
  if (!Number.isFinite(guidance)) refused("guidance", "guidance: must be a number");
  return { controls: { temperature, topK, topP, guidance: prior.numClasses ? guidance : 1 }, label };
};
const wholeNumber = (id, least, most) => {
  const own = number(id);
  if (!Number.isSafeInteger(own) || own < least || own > most) refused(id, `${$(id).labels[0].textContent.trim()}: must be a whole number from ${least} to ${most}`);
  return own;
};
const showBits = (codes, node, label) => {
  const bits = bitsOfCodes(prior, codes, label), each = Array.from({ length: POSITIONS }, (_, at) => bits.subarray(at * n, (at + 1) * n).reduce((a, b) => a + b, 0)), most = Math.max(1e-9, topOf(each));
  const cells = each.map((own, at) => make("span", { style: `background: rgb(${heat(own / most)}); color: ${inkOn(heat(own / most))}`, title: `${positionWords(at)}: ${own.toFixed(2)} bits` }, own.toFixed(1)));
  node.style.setProperty("--columns", w);
  node.classList.toggle("dense", w > 16);
  node.replaceChildren(...cells);
  const total = each.reduce((a, b) => a + b, 0), dear = Array.from(bits.keys()).sort((a, b) => bits[b] - bits[a]).slice(0, 5);
  return `${total.toFixed(1)} bits, ${(total / LENGTH).toFixed(2)} per code (${Math.log2(K).toFixed(2)} without a prior); dearest: ${dear.map((i) => `code ${codes[i]} at ${positionWords(Math.floor(i / n))}`).slice(0, 3).join("; ")}`;
};
const showDistribution = (logits, code, own) => {
  const shares = restricted(logits, own), order = byWeight(shares).slice(0, 8);
  if (!order.includes(code)) order[7] = code;
  $("distribution").replaceChildren(...order.map((k) => make("li", { class: k === code ? "drawn" : "" },
    make("b", { style: `--ink: rgb(${colourOf(k)})` }, String(k)), make("i", { style: `--share: ${shares[k] / shares[order[0]]}` }), make("small", {}, `${(100 * shares[k]).toFixed(1)} %`))));
};
const drawSamples = guarded(async (stale) => {
  say("");
  const own = controls(), seed = wholeNumber("seed", 0, Number.MAX_SAFE_INTEGER), num = wholeNumber("num", 1, 64), watched = $("watch").checked;
  const cells = Array.from({ length: POSITIONS }, () => make("span", {}));
  $("progress-grid").style.setProperty("--columns", w);
  $("progress-grid").classList.toggle("dense", w > 16);
  $("progress-grid").replaceChildren(...cells);
  $("samples").replaceChildren();
  $("draw").disabled = true;
  const begun = performance.now();
  let last = begun, spent = 0;
  try {
    const drawn = await sampleCodes(prior, { seed, num, ...own, watch: async (i, codes, logits) => {
      if (stale()) throw new Error("stopped");
      const code = codes[0][i], colour = colourOf(code), bits = bitsOf(logits[0], code);
      spent += bits;
      if (!watched && performance.now() - last < 50) return;
      last = performance.now();
      for (let k = 0; k <= i; k++) if (k % n === 0 && !cells[k / n].textContent) {
        cells[k / n].textContent = codes[0][k];
        cells[k / n].style.background = `rgb(${colourOf(codes[0][k])})`;
        cells[k / n].style.color = inkOn(colourOf(codes[0][k]));
      }
      if (watched) showDistribution(logits[0], code, own.controls);
      $("step").textContent = `code ${i + 1} of ${LENGTH}: ${code} at ${positionWords(Math.floor(i / n))}, ${bits.toFixed(2)} bits; ${spent.toFixed(1)} so far`;
      await nextFrame();
    } });
    state.samples = drawn;
    document.documentElement.dataset.sample = (performance.now() - begun).toFixed(1);
    showSamples(own.label);
  } finally {
    $("draw").disabled = false;
  }
});
const showSamples = (label) => {
  const drawn = state.samples, pictures = decodedAll(drawn), labels = labelsFor(prior, drawn.map((_, i) => i), label);
  const choose = (i) => {
    $("samples").querySelectorAll("button").forEach((button, k) => button.setAttribute("aria-pressed", String(k === i)));
    $("sample-bits").textContent = showBits(drawn[i], $("bits-grid"), prior.numClasses ? labels[i] : null);
    draw($("sample"), pictures[i]);
    $("edit").onclick = () => openSample(drawn[i]);
  };
  $("samples").replaceChildren(...pictures.map((pixels, i) => make("button", { type: "button", "aria-pressed": "false", "aria-label": `sample ${i + 1}`, onclick: () => choose(i) },
    canvasOf(pixels), prior.numClasses ? make("small", {}, data.classes[labels[i]] ?? `class ${labels[i]}`) : "")));
  $("sample-view").hidden = false;
  choose(0);
};

// ---------------------------------------------------------------- a hole
const hole = new Uint8Array(POSITIONS);
let holeCells = [];
const drawHole = () => {
  if (!prior) return;
  draw($("hole-image"), state.output);
  holeCells.forEach((cell, at) => { cell.setAttribute("aria-pressed", String(!!hole[at])); });
  const size = hole.reduce((a, b) => a + b, 0);
  $("hole-words").textContent = size ? `${size} of ${POSITIONS} positions to fill` : "Brush over the picture to make a hole.";
  $("fill-hole").disabled = !size;
};
const listenForBrush = () => {
  let value = null;
  const node = $("hole"), set = (at) => { if (value !== null) { hole[at] = value; drawHole(); } };
  holeCells = positionGrid(node, { name: "positions of the hole", choose: () => {} });
  const cellAt = (event) => holeCells.indexOf(document.elementFromPoint(event.clientX, event.clientY));
  node.addEventListener("pointerdown", (event) => {
    const at = cellAt(event);
    if (at < 0) return;
    value = hole[at] ? 0 : 1;
    set(at);
    if (event.target.hasPointerCapture?.(event.pointerId)) event.target.releasePointerCapture(event.pointerId);
  });
  node.addEventListener("pointermove", (event) => { const at = cellAt(event); if (at >= 0) set(at); });
  window.addEventListener("pointerup", () => { value = null; });
  holeCells.forEach((cell, at) => cell.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    hole[at] = hole[at] ? 0 : 1;
    drawHole();
  }));
  $("clear-hole").onclick = () => { hole.fill(0); drawHole(); };
  $("fill-hole").onclick = guarded(async (_, stale) => {
    say("");
    const own = controls("fill-temperature"), seed = wholeNumber("seed", 0, Number.MAX_SAFE_INTEGER), num = wholeNumber("fills", 1, 12), candidates = wholeNumber("candidates", 1, 16);
    const keep = Array.from({ length: LENGTH }, (__, i) => !hole[Math.floor(i / n)]), codes = Array.from(state.codes);
    let done = 0, last = performance.now();
    $("fill-hole").disabled = true;
    try {
      const found = await inpaintCodes(prior, { codes, keep, seed, num, candidates, ...own, watch: async () => {
        if (stale()) throw new Error("stopped");
        done++;
        if (performance.now() - last < 50) return;
        last = performance.now();
        $("hole-words").textContent = `filling: ${Math.round((100 * done) / (num * LENGTH))} %`;
        await nextFrame();
      } });
      state.fills = found;
      $("fills-shown").replaceChildren(...decodedAll(found).map((pixels, i) => make("button", { type: "button", "aria-label": `take fill ${i + 1}`, title: "take this fill", onclick: () => { state.before.push(state.codes.slice()); setCodes(found[i]); } }, canvasOf(pixels))));
    } finally {
      drawHole();
    }
  });
};

// ---------------------------------------------------------------- a walk between two images
const walk = { from: null, to: null };
const walked = (t) => {
  const a = walk.from.data, b = walk.to.data;
  return tokenizer.quantize(floats(walk.from.shape, Float32Array.from(a, (v, i) => v * (1 - t) + b[i] * t)));
};
const showWalk = () => {
  if (!walk.from || !walk.to) return;
  const t = Number($("walk").value) / 100, codes = walked(t), from = walked(0);
  draw($("walk-image"), pixelsOf(tokenizer.decode(codes)));
  const moved = codes.data.reduce((sum, code, i) => sum + (code !== from.data[i]), 0);
  $("walk-words").textContent = `${Math.round(100 * t)} % of the way: ${moved} of ${LENGTH} codes differ from the first image`;
};
const walkStrip = () => {
  $("walk-strip").replaceChildren(...Array.from({ length: 7 }, (_, i) => make("button", { type: "button", "aria-label": `${Math.round((100 * i) / 6)} % of the way`, onclick: () => { $("walk").value = Math.round((100 * i) / 6); showWalk(); } }, canvasOf(pixelsOf(tokenizer.decode(walked(i / 6)))))));
  showWalk();
};
const listenForWalk = () => {
  const picker = (node, side) => node.replaceChildren(make("button", { type: "button", onclick: () => { walk[side] = state.z_e; walkStrip(); } }, "the image above"),
    ...state.examples.slice(0, 10).map((pixels, i) => make("button", { type: "button", class: "thumb", "aria-label": `image ${i + 1}`, onclick: () => { walk[side] = tokenizer.latents(imagesOf(pixels, [1, C, H, W])); walkStrip(); } }, canvasOf(pixels))));
  picker($("walk-from"), "from");
  picker($("walk-to"), "to");
  $("walk").addEventListener("input", showWalk);
  walk.from = state.z_e;
  walk.to = state.examples[1] ? tokenizer.latents(imagesOf(state.examples[1], [1, C, H, W])) : floats(state.z_e.shape);
  walkStrip();
};

// ---------------------------------------------------------------- the path of one position
const bars = (values, most) => make("div", { class: "bars" }, ...Array.from(values, (v) => make("i", { style: `--v: ${Math.max(-1, Math.min(1, v / most))}`, class: v < 0 ? "low" : "", title: readable(v) })));
const explain = (at) => {
  const row = Math.floor(at / w), column = at % w, own = vectorAt(state.z_e, at), code = codeAt(at), vectors = codeVectors(at), d = own.length;
  const z_q = vectorOf(code, vectors), order = nearestCodes(own, vectors).slice(0, 6);
  const most = Math.max(1e-9, topOf(own.map(Math.abs)), topOf(Array.from(z_q, Math.abs)));
  $("path-patch").replaceChildren(patchOf(state.pixels, row, column));
  $("path-z_e").replaceChildren(bars(own, most));
  $("path-distances").replaceChildren(...order.map(([far, k]) => make("li", { class: k === code ? "drawn" : "" }, make("b", { style: `--ink: rgb(${colourOf(k)})` }, String(k)), make("i", { style: `--share: ${far / Math.max(1e-9, order[order.length - 1][0])}` }), make("small", {}, readable(far)))));
  $("path-code").textContent = code;
  $("path-code").style.setProperty("--ink", `rgb(${colourOf(code)})`);
  $("path-z_q").replaceChildren(bars(z_q, most));
  $("path-out").replaceChildren(patchOf(state.output, row, column));
  const error = own.reduce((sum, v, c) => sum + (v - z_q[c]) ** 2, 0);
  $("path-where").textContent = `The position at ${positionWords(at)}`;
  $("path-numbers").textContent = `Here ‖zₑ‖² is ${readable(own.reduce((sum, v) => sum + v * v, 0))}, and ‖zₑ − eₖ‖² is ${readable(error)}: ${readable(error / d)} per dimension of ${d}. ${code === order[0][1] ? "" : data.nearest ? "The code was changed, or several codes share the position: it is not the nearest." : "This quantizer chooses by a rule of its own; distances are shown for comparison."}`;
};
