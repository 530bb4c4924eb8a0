// The tokenizer and the prior of the page: images to codes and back, noise as a function of keys, sampling,
// inpainting. The functions are those of vqvae.noise, vqvae.sampling and vqvae.data.resize, and give the same codes.

// ---------------------------------------------------------------- noise: SplitMix64 over keys
const WORD = (1n << 64n) - 1n;
const mixBits = (x) => {
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & WORD;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & WORD;
  return x ^ (x >> 31n);
};
const hashOnto = (state, key) => mixBits(((state ^ mixBits(BigInt(key) & WORD)) + 0x9e3779b97f4a7c15n) & WORD);
const randomBits = (...keys) => keys.reduce(hashOnto, 0n);
const uniformOf = (bits) => (Number(bits >> 12n) + 0.5) * 2 ** -52;
const uniform = (...keys) => uniformOf(randomBits(...keys));

// ---------------------------------------------------------------- distributions
const lastAbove = (weights, u) => { // the code at which the cumulative sum of the weights exceeds u times their sum
  let total = 0, sum = 0;
  for (const weight of weights) total += weight;
  for (let k = 0; k < weights.length; k++) if ((sum += weights[k]) > u * total) return k;
  return weights.length - 1;
};
const topOf = (values) => values.reduce((a, b) => (b > a ? b : a), -Infinity);
const softmaxOf = (logits) => {
  const top = topOf(logits), found = Float64Array.from(logits, (v) => Math.exp(v - top)), sum = found.reduce((a, b) => a + b, 0);
  return found.map((v) => v / sum);
};
const bitsOf = (logits, code) => {
  const top = topOf(logits);
  let sum = 0;
  for (const v of logits) sum += Math.exp(v - top);
  return (Math.log(sum) - (logits[code] - top)) / Math.LN2;
};
const byWeight = (values) => Array.from(values.keys()).sort((a, b) => values[b] - values[a] || a - b);
// probabilities after temperature, top-k and top-p
const restricted = (logits, { temperature = 1, topK = null, topP = null }) => {
  if (temperature === 0) {
    const found = new Float64Array(logits.length);
    found[logits.indexOf(topOf(logits))] = 1;
    return found;
  }
  const top = topOf(logits), scaled = Float64Array.from(logits, (v) => (v - top) / temperature);
  if (topK !== null) byWeight(scaled).slice(topK).forEach((k) => { scaled[k] = -Infinity; });
  const found = softmaxOf(scaled);
  if (topP !== null && topP < 1) {
    let sum = 0;
    const order = byWeight(found).filter((k) => { const before = sum; sum += found[k]; return before >= topP; });
    order.forEach((k) => { found[k] = 0; });
    const rest = found.reduce((a, b) => a + b, 0);
    return found.map((v) => v / rest);
  }
  return found;
};
const picked = (logits, u, controls) => {
  const { temperature = 1, topK = null, topP = null } = controls;
  if (temperature !== 1 || topK !== null || topP !== null) return lastAbove(restricted(logits, controls), u);
  const top = topOf(logits); // in float32, as vqvae.sampling does where nothing is restricted
  return lastAbove(Float32Array.from(logits, (v) => Math.exp(Math.fround(v - top))), u);
};

// ---------------------------------------------------------------- the tokenizer
class Tokenizer {
  constructor(graphs, facts) {
    Object.assign(this, facts);
    this.graphs = graphs;
    this.perPosition = facts.codesPerPosition;
  }
  latents(images) { return this.graphs.latents.run({ images }).z_e; }
  quantize(z_e) { return this.graphs.quantize.run({ z_e }).codes; }
  embed(codes) { return this.graphs.embed.run({ codes }).z_q; }
  images(z_q) { return this.graphs.decode.run({ z_q }).images; }
  encode(images) { return this.quantize(this.latents(images)); }
  decode(codes) { return this.images(this.embed(codes)); }
  // the vectors of codes at one place of a position whose other codes stay: float [codes, D]
  vectors(codes, own, place) {
    const n = this.perPosition, all = tensor("i", [codes.length, 1, 1, n]);
    codes.forEach((code, i) => { for (let p = 0; p < n; p++) all.data[i * n + p] = p === place ? code : own[p]; });
    return this.embed(all).data;
  }
}
const imagesOf = (pixels, shape) => floats(shape, Float32Array.from(pixels, (v) => v / 127.5 - 1));
const pixelsOf = (images) => Uint8ClampedArray.from(images.data, (v) => halfToEven(Math.fround((Math.min(1, Math.max(-1, v)) + 1) * 127.5)));

// ---------------------------------------------------------------- the prior, position by position
class Prior {
  constructor(graphs, facts) {
    Object.assign(this, facts);
    this.graphs = graphs;
    this.perPosition = facts.codesPerPosition;
  }
  start(labels) { return new Stepper(this, labels); }
}
class Stepper {
  // labels: a class for each grid; numClasses means no class
  constructor(prior, labels) {
    this.prior = prior;
    this.count = labels.length;
    [this.h, this.w] = prior.grid;
    this.n = prior.perPosition;
    this.codes = tensor("i", [this.count, this.h, this.w, this.n]);
    this.known = 0;
    this.values = { labels: ints([this.count], labels) };
    for (const [name, shape] of Object.entries(prior.start_shapes || {})) this.values[name] = floats([this.count, ...shape.slice(1)]);
  }
  // logits of the next code, one array for each grid; previous: the codes before, one for each grid
  step(previous) {
    const length = this.h * this.w * this.n, { graphs } = this.prior;
    if (previous) {
      for (let b = 0; b < this.count; b++) this.codes.data[b * length + this.known] = previous[b];
      this.known++;
    }
    const position = Math.floor(this.known / this.n), place = this.known % this.n;
    let logits, offset;
    if (!graphs.position) {
      ({ logits } = graphs.prior.run({ codes: this.codes, labels: this.values.labels }));
      offset = (b, k) => (b * length + this.known) * k;
    } else {
      if (place === 0) this.move(position);
      ({ logits } = graphs.head.run({ features: this.values.features, codes: this.row(position, 1) }));
      offset = (b, k) => (b * this.n + place) * k;
    }
    const k = this.prior.numCodes;
    return Array.from({ length: this.count }, (_, b) => logits.data.subarray(offset(b, k), offset(b, k) + k));
  }
  row(position, positions) { // the codes of some positions of every grid
    const length = this.h * this.w * this.n, own = positions * this.n;
    const found = tensor("i", positions === 1 ? [this.count, this.n] : [this.count, positions, this.n]);
    for (let b = 0; b < this.count; b++) for (let i = 0; i < own; i++) found.data[b * own + i] = this.codes.data[b * length + position * this.n + i];
    return found;
  }
  move(position) {
    const row = Math.floor(position / this.w), column = position % this.w, { graphs } = this.prior;
    this.values.at = ints([2], [row, column]);
    this.values.before = ints([2], position ? [Math.floor((position - 1) / this.w), (position - 1) % this.w] : [0, -1]);
    this.values.previous = this.row(Math.max(0, position - 1), 1);
    if (graphs.row && column === 0) {
      const above = this.row(Math.max(0, row - 1) * this.w, this.w);
      this.values.above = tensor("i", [this.count, this.w, this.n], above.data);
      this.take(graphs.row);
    }
    this.take(graphs.position);
  }
  take(graph) {
    for (const [name, value] of Object.entries(graph.run(this.values))) this.values[name.replace(/^next_/, "")] = value;
  }
}
// vqvae.sampling.Windowed: a grid of any size; each code is drawn from a window of the trained size around it. One pass
// of the prior over the rows of the window so far gives the logits: later rows do not matter.
class WindowedPrior {
  constructor(prior, grid) {
    Object.assign(this, { graphs: prior.graphs, grid, perPosition: prior.perPosition, numCodes: prior.numCodes, numClasses: prior.numClasses });
    this.window = grid.map((side, axis) => Math.min(side, prior.grid[axis]));
  }
  start(labels) { return new WindowedStepper(this, labels); }
}
class WindowedStepper {
  constructor(prior, labels) {
    this.prior = prior;
    this.labels = ints([labels.length], labels);
    this.codes = labels.map(() => new Int32Array(prior.grid[0] * prior.grid[1] * prior.perPosition));
    this.known = 0;
  }
  // logits of the next code, one array for each grid; null where they are not needed
  step(previous, needed = true) {
    const { graphs, grid: [height, width], window: [h, w], perPosition: n, numCodes: k } = this.prior;
    if (previous) {
      this.codes.forEach((own, b) => { own[this.known] = previous[b]; });
      this.known++;
    }
    if (!needed) return null;
    const position = Math.floor(this.known / n), row = Math.floor(position / width), column = position % width;
    const top = Math.min(Math.max(0, row - Math.floor(h / 2)), height - h), left = Math.min(Math.max(0, column - Math.floor(w / 2)), width - w);
    const rows = row - top + 1, codes = tensor("i", [this.codes.length, rows, w, n]);
    this.codes.forEach((own, b) => {
      for (let y = 0; y < rows; y++) {
        const from = ((top + y) * width + left) * n;
        codes.data.set(own.subarray(from, from + w * n), (b * rows + y) * w * n);
      }
    });
    const { logits } = graphs.prior.run({ codes, labels: this.labels });
    return this.codes.map((_, b) => {
      const at = (((b * rows + row - top) * w + column - left) * n + (this.known % n)) * k;
      return logits.data.subarray(at, at + k);
    });
  }
}
// a function from the previous codes to the next logits, with classifier-free guidance
const guided = (prior, labels, guidance) => {
  if (guidance === 1) { const stepper = prior.start(labels); return (previous, needed) => stepper.step(previous, needed); }
  const stepper = prior.start([...labels, ...labels.map(() => prior.numClasses)]);
  return (previous, needed) => {
    const logits = stepper.step(previous && [...previous, ...previous], needed), half = labels.length;
    return logits && labels.map((_, b) => logits[b].map((own, k) => Math.fround(logits[b + half][k] + Math.fround(guidance * Math.fround(own - logits[b + half][k])))));
  };
};
const labelsFor = (prior, rows, label) => rows.map((row) => (!prior.numClasses ? 0 : label === null ? Math.floor(row / 8) % prior.numClasses : label));

// Draws codes one after another. seeds and images: a key for each grid. keep: for each code, whether codes[i] stays.
// watch(known, codes, logits) is awaited after each code. Returns codes of each grid, and, if they are to be weighed,
// log p of the kept codes.
const fill = async (prior, { seeds, images, labels, codes = null, keep = null, weigh = true, controls = {}, watch = async () => {} }) => {
  const length = prior.grid[0] * prior.grid[1] * prior.perPosition, step = guided(prior, labels, controls.guidance ?? 1);
  const bases = seeds.map((seed, row) => randomBits(seed, images[row]));
  const drawn = seeds.map(() => new Int32Array(length)), weights = new Float64Array(seeds.length);
  let previous = null;
  for (let i = 0; i < length; i++) {
    const kept = keep !== null && keep[i], logits = step(previous, weigh || !kept);
    if (kept) {
      if (weigh) logits.forEach((own, row) => { weights[row] -= bitsOf(own, codes[i]) * Math.LN2; });
      previous = seeds.map(() => codes[i]);
    } else {
      previous = logits.map((own, row) => picked(own, uniformOf(hashOnto(bases[row], i)), controls));
    }
    previous.forEach((code, row) => { drawn[row][i] = code; });
    await watch(i, drawn, logits);
  }
  return { drawn, weights };
};
// the images first .. first + num - 1 of `vqvae sample --seed SEED`
const sampleCodes = async (prior, { seed, num, first = 0, label = null, controls, watch }) => {
  const images = Array.from({ length: num }, (_, i) => first + i);
  return (await fill(prior, { seeds: images.map(() => seed), images, labels: labelsFor(prior, images, label), controls, watch })).drawn;
};
// `vqvae inpaint`: candidates for each fill; one of them is chosen by how likely it makes the kept codes
const inpaintCodes = async (prior, { codes, keep, seed, num, candidates, label = null, controls, watch }) => {
  const found = [];
  for (let image = 0; image < num; image++) {
    const seeds = Array.from({ length: candidates }, (_, m) => (m ? randomBits(seed, m) : BigInt(seed)));
    const labels = seeds.map(() => (label === null ? prior.numClasses : label));
    const own = label === null ? { ...controls, guidance: 1 } : controls; // without a class, guidance has no effect
    const { drawn, weights } = await fill(prior, { seeds, images: seeds.map(() => image), labels, codes, keep, weigh: candidates > 1, controls: own, watch });
    found.push(drawn[lastAbove(softmaxOf(weights), uniform(seed, image, codes.length))]);
  }
  return found;
};
// the bits of each code under the prior
const bitsOfCodes = (prior, codes, label = null) => {
  const stepper = prior.start([label === null ? prior.numClasses : label]);
  return Float64Array.from(codes, (code, i) => bitsOf(stepper.step(i ? [codes[i - 1]] : null)[0], code));
};

// ---------------------------------------------------------------- images of any size
const lanczos = (x) => (x === 0 ? 1 : Math.abs(x) >= 3 ? 0 : (3 * Math.sin(Math.PI * x) * Math.sin((Math.PI * x) / 3)) / (Math.PI * Math.PI * x * x));
const lanczosWeights = (size, start, end) => { // of each of `size` outputs over start .. end, as Pillow computes them
  const scale = (end - start) / size, wide = Math.max(1, scale), reach = 3 * wide;
  return Array.from({ length: size }, (_, i) => ({ centre: start + (i + 0.5) * scale, wide, reach }));
};
const resampled = (data, channels, width, height, box, out) => { // along x of rows
  const found = new Uint8ClampedArray(out * height * channels);
  lanczosWeights(out, box[0], box[1]).forEach(({ centre, wide, reach }, i) => {
    const low = Math.max(0, Math.trunc(centre - reach + 0.5)), high = Math.min(width, Math.trunc(centre + reach + 0.5));
    const weights = [];
    let sum = 0;
    for (let x = low; x < high; x++) { const w = lanczos((x - centre + 0.5) / wide); weights.push(w); sum += w; }
    for (let y = 0; y < height; y++) for (let c = 0; c < channels; c++) {
      let value = 0;
      for (let x = low; x < high; x++) value += (weights[x - low] / sum) * data[(y * width + x) * channels + c];
      found[(y * out + i) * channels + c] = Math.floor(value + 0.5);
    }
  });
  return found;
};
const turned = (data, channels, width, height) => {
  const found = new Uint8ClampedArray(data.length);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let c = 0; c < channels; c++) found[(x * height + y) * channels + c] = data[(y * width + x) * channels + c];
  return found;
};
// pixels [C, H, W] of RGBA data: scaled until they cover the size, cropped to the centre; also how they were made
const fitted = ({ data, width, height }, { channels, size: [H, W], factor }) => {
  let own = new Uint8ClampedArray(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    const [r, g, b] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) own[i] = (r * 19595 + g * 38470 + b * 7471 + 32768) >> 16;
    else own.set([r, g, b], 3 * i);
  }
  let how = "";
  const over = height - H >= 0 && height - H < factor && width - W >= 0 && width - W < factor;
  if (over) {
    const left = (width - W) >> 1, top = (height - H) >> 1, cut = new Uint8ClampedArray(W * H * channels);
    for (let y = 0; y < H; y++) cut.set(own.subarray(((y + top) * width + left) * channels, ((y + top) * width + left + W) * channels), y * W * channels);
    if (width !== W || height !== H) how = `cropped from ${width}×${height} to ${W}×${H}`;
    own = cut;
  } else {
    const scale = Math.max(H / height, W / width), left = Math.max(0, (width - W / scale) / 2), top = Math.max(0, (height - H / scale) / 2);
    const across = resampled(own, channels, width, height, [left, width - left], W);
    own = turned(resampled(turned(across, channels, W, height), channels, height, W, [top, height - top], H), channels, H, W);
    how = `${left || top ? "cropped and " : ""}scaled from ${width}×${height} to ${W}×${H}`;
  }
  const planes = new Uint8ClampedArray(own.length);
  for (let i = 0; i < H * W; i++) for (let c = 0; c < channels; c++) planes[c * H * W + i] = own[i * channels + c];
  return { pixels: planes, how };
};

// ---------------------------------------------------------------- from the page's data
const openModels = (data, bytes) => {
  const graphs = {};
  for (const [name, graph] of Object.entries(data.graphs)) {
    const constants = new Map();
    for (const [key, [type, shape, at, inline]] of Object.entries(graph.constants)) {
      const total = count(shape);
      constants.set(key, tensor(type, shape, inline ? ARRAYS[type].from(inline) : new ARRAYS[type](bytes, at, total)));
    }
    for (const node of graph.nodes) for (const [key, value] of Object.entries(node[3])) {
      if (value && value.tensor) node[3][key] = tensor(value.tensor[0], value.tensor[1], ARRAYS[value.tensor[0]].from(value.tensor[2]));
    }
    graphs[name] = new Graph(graph, constants);
  }
  return { tokenizer: new Tokenizer(graphs, data.model), prior: data.prior ? new Prior(graphs, { ...data.model, ...data.prior }) : null };
};
