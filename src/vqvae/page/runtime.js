// Runs an exported graph in plain JavaScript. A tensor is {type, shape, data}: f (float32), d (float64),
// i (integers, exact up to 2^53), b (booleans). Sums are accumulated in float64, and rounded once where the
// operator's result is float32. An operator is one function of ops; vqvae page reads their names from this file.
"use strict";

const ARRAYS = { f: Float32Array, d: Float64Array, i: Float64Array, b: Uint8Array };
const count = (shape) => shape.reduce((product, size) => product * size, 1);
const tensor = (type, shape, data) => ({ type, shape, data: data || new ARRAYS[type](count(shape)) });
const floats = (shape, data) => tensor("f", shape, data);
const ints = (shape, data) => tensor("i", shape, Float64Array.from(data));
const axisOf = (axis, rank) => (axis < 0 ? axis + rank : axis);
const stridesOf = (shape) => {
  const strides = new Array(shape.length);
  for (let axis = shape.length - 1, step = 1; axis >= 0; step *= shape[axis--]) strides[axis] = step;
  return strides;
};
const broadcastShape = (a, b) => {
  const rank = Math.max(a.length, b.length), shape = new Array(rank);
  for (let axis = 0; axis < rank; axis++) {
    const x = a[a.length - rank + axis] ?? 1, y = b[b.length - rank + axis] ?? 1;
    if (x !== y && x !== 1 && y !== 1) throw new Error(`shapes [${a}] and [${b}] do not fit`);
    shape[axis] = x === 1 ? y : x;
  }
  return shape;
};
const broadcastStrides = (from, to) => {
  const own = stridesOf(from), missing = to.length - from.length;
  return to.map((_, axis) => (axis < missing || from[axis - missing] === 1 ? 0 : own[axis - missing]));
};

// the place in a source of each element of a shape, in order; strides and start are of the source
const places = (shape, strides, start = 0) => {
  const total = count(shape), found = new Int32Array(total), rank = shape.length;
  if (!total) return found;
  const index = new Int32Array(rank), last = rank - 1;
  let at = start;
  for (let i = 0; i < total; i++) {
    found[i] = at;
    let axis = last;
    while (axis >= 0) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis--] = 0;
    }
  }
  return found;
};
const taken = (x, shape, strides, start = 0) => {
  const at = places(shape, strides, start), out = tensor(x.type, shape);
  for (let i = 0; i < at.length; i++) out.data[i] = x.data[at[i]];
  return out;
};

// ---------------------------------------------------------------- matrix products
// Rows of A and columns of B lie in groups of four, so that sixteen sums stay in registers.
const packRows = (data, at, rows, depth, rowStep, depthStep) => {
  const groups = (rows + 3) >> 2, packed = new Float64Array(groups * depth * 4);
  for (let r = 0; r < rows; r++) {
    let to = (r >> 2) * depth * 4 + (r & 3), from = at + r * rowStep;
    for (let k = 0; k < depth; k++, to += 4, from += depthStep) packed[to] = data[from];
  }
  return packed;
};
// the product of packed rows and packed columns, float64 [rows, columns]
const product = (a, b, rows, columns, depth) => {
  const wide = (columns + 3) & ~3, out = new Float64Array(((rows + 3) & ~3) * wide);
  for (let i = 0; i < rows; i += 4) {
    const aStart = (i >> 2) * depth * 4, end = aStart + depth * 4;
    for (let j = 0; j < columns; j += 4) {
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
      let s8 = 0, s9 = 0, sa = 0, sb = 0, sc = 0, sd = 0, se = 0, sf = 0;
      for (let p = aStart, q = (j >> 2) * depth * 4; p < end; p += 4, q += 4) {
        const a0 = a[p], a1 = a[p + 1], a2 = a[p + 2], a3 = a[p + 3];
        const b0 = b[q], b1 = b[q + 1], b2 = b[q + 2], b3 = b[q + 3];
        s0 += a0 * b0; s1 += a0 * b1; s2 += a0 * b2; s3 += a0 * b3;
        s4 += a1 * b0; s5 += a1 * b1; s6 += a1 * b2; s7 += a1 * b3;
        s8 += a2 * b0; s9 += a2 * b1; sa += a2 * b2; sb += a2 * b3;
        sc += a3 * b0; sd += a3 * b1; se += a3 * b2; sf += a3 * b3;
      }
      let to = i * wide + j;
      out[to] = s0; out[to + 1] = s1; out[to + 2] = s2; out[to + 3] = s3; to += wide;
      out[to] = s4; out[to + 1] = s5; out[to + 2] = s6; out[to + 3] = s7; to += wide;
      out[to] = s8; out[to + 1] = s9; out[to + 2] = sa; out[to + 3] = sb; to += wide;
      out[to] = sc; out[to + 1] = sd; out[to + 2] = se; out[to + 3] = sf;
    }
  }
  return { sums: out, wide };
};
const packedOnce = new WeakMap(); // weights are packed at their first use
const packedWeights = (x, key, make) => {
  if (!x.constant) return make();
  let own = packedOnce.get(x.data);
  if (!own) packedOnce.set(x.data, (own = new Map()));
  if (!own.has(key)) own.set(key, make());
  return own.get(key);
};

const ops = {};

ops.MatMul = ([a, b]) => {
  const one = a.shape.length === 1, other = b.shape.length === 1;
  const left = one ? [1, ...a.shape] : a.shape, right = other ? [...b.shape, 1] : b.shape;
  const [m, k] = left.slice(-2), n = right[right.length - 1];
  const batch = broadcastShape(left.slice(0, -2), right.slice(0, -2));
  const atA = places(batch, broadcastStrides(left.slice(0, -2), batch).map((step) => step * m * k));
  const atB = places(batch, broadcastStrides(right.slice(0, -2), batch).map((step) => step * k * n));
  const out = floats([...batch, ...(one ? [] : [m]), ...(other ? [] : [n])]);
  for (let i = 0; i < atA.length; i++) {
    const rows = packRows(a.data, atA[i], m, k, k, 1), base = i * m * n;
    const columns = packedWeights(b, `columns ${atB[i]}`, () => packRows(b.data, atB[i], n, k, 1, n));
    const { sums, wide } = product(rows, columns, m, n, k);
    for (let y = 0; y < m; y++) for (let z = 0; z < n; z++) out.data[base + y * n + z] = sums[y * wide + z];
  }
  return out;
};
ops.Gemm = ([a, b, c], { alpha = 1, beta = 1, transA = 0, transB = 0 }) => {
  const [m, k] = transA ? [a.shape[1], a.shape[0]] : a.shape, n = transB ? b.shape[0] : b.shape[1];
  const rows = packRows(a.data, 0, m, k, transA ? 1 : k, transA ? m : 1);
  const columns = packedWeights(b, "gemm", () => packRows(b.data, 0, n, k, transB ? k : 1, transB ? 1 : n));
  const bias = c && places([m, n], broadcastStrides(c.shape, [m, n])), out = floats([m, n]);
  const { sums, wide } = product(rows, columns, m, n, k);
  for (let y = 0, at = 0; y < m; y++) for (let z = 0; z < n; z++, at++) {
    out.data[at] = alpha * sums[y * wide + z] + (c ? beta * c.data[bias[at]] : 0);
  }
  return out;
};

// ---------------------------------------------------------------- convolutions, over height and width
const twoDimensional = (x) => (x.length === 4 ? x : x.length === 3 ? [x[0], x[1], 1, x[2]] : null);
const geometry = (attributes, kernel, inner) => {
  const pad = (list, value) => (inner === 1 ? [value, ...list] : list);
  const strides = pad(attributes.strides || new Array(inner).fill(1), 1);
  const dilations = pad(attributes.dilations || new Array(inner).fill(1), 1);
  let pads = attributes.pads || new Array(2 * inner).fill(0);
  if (inner === 1) pads = [0, pads[0], 0, pads[1]];
  return { kernel: pad(kernel, 1), strides, dilations, pads };
};
ops.Conv = ([x, w, bias], attributes) => {
  const inner = x.shape.length - 2, [batch, channels, height, width] = twoDimensional(x.shape);
  const { kernel: [kh, kw], strides: [sh, sw], dilations: [dh, dw], pads } = geometry(attributes, w.shape.slice(2), inner);
  if (attributes.auto_pad && attributes.auto_pad !== "NOTSET") throw new Error(`Conv with auto_pad ${attributes.auto_pad}`);
  const groups = attributes.group || 1, depth = (channels / groups) * kh * kw, outs = w.shape[0], each = outs / groups;
  const oh = Math.floor((height + pads[0] + pads[2] - dh * (kh - 1) - 1) / sh) + 1;
  const ow = Math.floor((width + pads[1] + pads[3] - dw * (kw - 1) - 1) / sw) + 1;
  const area = oh * ow, out = floats(inner === 1 ? [batch, outs, ow] : [batch, outs, oh, ow]), columns = batch * area;
  for (let group = 0; group < groups; group++) {
    const rows = packedWeights(w, `rows ${group}`, () => packRows(w.data, group * each * depth, each, depth, depth, 1));
    const patches = new Float64Array(((columns + 3) >> 2) * depth * 4);
    for (let n = 0, column = 0; n < batch; n++) for (let y = 0; y < oh; y++) for (let z = 0; z < ow; z++, column++) {
      let to = (column >> 2) * depth * 4 + (column & 3);
      for (let c = 0; c < channels / groups; c++) {
        const plane = (n * channels + group * (channels / groups) + c) * height * width;
        for (let i = 0; i < kh; i++) {
          const row = y * sh - pads[0] + i * dh, inside = row >= 0 && row < height;
          for (let j = 0; j < kw; j++, to += 4) {
            const col = z * sw - pads[1] + j * dw;
            if (inside && col >= 0 && col < width) patches[to] = x.data[plane + row * width + col];
          }
        }
      }
    }
    const { sums, wide } = product(rows, patches, each, columns, depth);
    for (let r = 0; r < each; r++) for (let n = 0, own = bias ? bias.data[group * each + r] : 0; n < batch; n++) {
      const from = r * wide + n * area, to = (n * outs + group * each + r) * area;
      for (let i = 0; i < area; i++) out.data[to + i] = sums[from + i] + own;
    }
  }
  return out;
};
ops.ConvTranspose = ([x, w, bias], attributes) => {
  const inner = x.shape.length - 2, [batch, channels, height, width] = twoDimensional(x.shape);
  const { kernel: [kh, kw], strides: [sh, sw], dilations: [dh, dw], pads } = geometry(attributes, w.shape.slice(2), inner);
  const extra = attributes.output_padding || [0, 0], more = inner === 1 ? [0, extra[0]] : extra;
  const groups = attributes.group || 1, each = w.shape[1], outs = each * groups, own = channels / groups, taps = kh * kw;
  const oh = (height - 1) * sh - pads[0] - pads[2] + dh * (kh - 1) + 1 + more[0];
  const ow = (width - 1) * sw - pads[1] - pads[3] + dw * (kw - 1) + 1 + more[1];
  const area = height * width, sum = new Float64Array(batch * outs * oh * ow);
  if (bias) for (let at = 0; at < sum.length; at++) sum[at] = bias.data[Math.floor(at / (oh * ow)) % outs];
  for (let group = 0; group < groups; group++) for (let n = 0; n < batch; n++) {
    const rows = packedWeights(w, `back ${group}`, () => packRows(w.data, group * own * each * taps, each * taps, own, 1, each * taps));
    const points = packRows(x.data, (n * channels + group * own) * area, area, own, 1, area);
    const { sums, wide } = product(rows, points, each * taps, area, own);
    for (let r = 0; r < each * taps; r++) {
      const tap = r % taps, i = Math.floor(tap / kw) * dh - pads[0], j = (tap % kw) * dw - pads[1];
      const plane = (n * outs + group * each + (r - tap) / taps) * oh * ow;
      for (let row = 0, from = r * wide; row < height; row++) {
        const y = row * sh + i;
        if (y < 0 || y >= oh) { from += width; continue; }
        for (let column = 0; column < width; column++, from++) {
          const z = column * sw + j;
          if (z >= 0 && z < ow) sum[plane + y * ow + z] += sums[from];
        }
      }
    }
  }
  return floats(inner === 1 ? [batch, outs, ow] : [batch, outs, oh, ow], Float32Array.from(sum));
};
const pooled = (name, begin, add, finish) => {
  ops[name] = ([x], attributes) => {
    const inner = x.shape.length - 2, [batch, channels, height, width] = twoDimensional(x.shape);
    const { kernel: [kh, kw], strides: [sh, sw], dilations: [dh, dw], pads } = geometry(attributes, attributes.kernel_shape, inner);
    const length = (size, a, b, k, d, s) => (attributes.ceil_mode ? Math.ceil : Math.floor)((size + a + b - d * (k - 1) - 1) / s) + 1;
    const oh = length(height, pads[0], pads[2], kh, dh, sh), ow = length(width, pads[1], pads[3], kw, dw, sw);
    const out = floats(inner === 1 ? [batch, channels, ow] : [batch, channels, oh, ow]);
    for (let plane = 0, at = 0; plane < batch * channels; plane++) for (let y = 0; y < oh; y++) for (let z = 0; z < ow; z++, at++) {
      let value = begin, seen = 0;
      for (let i = 0; i < kh; i++) for (let j = 0; j < kw; j++) {
        const row = y * sh - pads[0] + i * dh, col = z * sw - pads[1] + j * dw;
        if (row < 0 || row >= height || col < 0 || col >= width) continue;
        value = add(value, x.data[(plane * height + row) * width + col]);
        seen++;
      }
      out.data[at] = finish(value, attributes.count_include_pad ? kh * kw : seen);
    }
    return out;
  };
};
pooled("MaxPool", -Infinity, Math.max, (value) => value);
pooled("AveragePool", 0, (sum, value) => sum + value, (sum, seen) => sum / seen);
ops.GlobalAveragePool = ([x]) => reduce(x, x.shape.map((_, axis) => axis).slice(2), true, 0, (sum, v) => sum + v, (sum, n) => sum / n);

// ---------------------------------------------------------------- one value at a time
const erf = (x) => { // a series near 0, a continued fraction of 1 - erf(x) elsewhere
  const a = Math.abs(x);
  if (a < 2.5) {
    let power = a, sum = a;
    for (let n = 1; n < 80; n++) sum += (power *= (-a * a) / n) / (2 * n + 1);
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
};
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const halfToEven = (x) => { const r = Math.round(x); return Math.abs(x % 1) === 0.5 && r % 2 ? r - 1 : r; };
const each = (x, type, f) => {
  const out = tensor(type, x.shape), { data } = x;
  for (let i = 0; i < data.length; i++) out.data[i] = f(data[i]);
  return out;
};
const unary = {
  Relu: (x) => (x < 0 ? 0 : x), Sigmoid: sigmoid, Tanh: Math.tanh, Exp: Math.exp, Log: Math.log, Sqrt: Math.sqrt,
  Neg: (x) => -x, Abs: Math.abs, Reciprocal: (x) => 1 / x, Erf: erf, Floor: Math.floor, Ceil: Math.ceil,
  Round: halfToEven, Sign: Math.sign, Sin: Math.sin, Cos: Math.cos, Tan: Math.tan, Atan: Math.atan,
  Softplus: (x) => (x > 30 ? x : Math.log1p(Math.exp(x))), Mish: (x) => x * Math.tanh(Math.log1p(Math.exp(x))),
  HardSwish: (x) => x * Math.min(1, Math.max(0, x / 6 + 0.5)), Identity: (x) => x,
};
for (const [name, f] of Object.entries(unary)) ops[name] = ([x]) => each(x, x.type, f);
ops.Not = ([x]) => each(x, "b", (v) => (v ? 0 : 1));
ops.IsNaN = ([x]) => each(x, "b", (v) => (Number.isNaN(v) ? 1 : 0));
ops.IsInf = ([x]) => each(x, "b", (v) => (Math.abs(v) === Infinity ? 1 : 0));
ops.LeakyRelu = ([x], { alpha = 0.01 }) => each(x, "f", (v) => (v < 0 ? alpha * v : v));
ops.Elu = ([x], { alpha = 1 }) => each(x, "f", (v) => (v < 0 ? alpha * Math.expm1(v) : v));
ops.HardSigmoid = ([x], { alpha = 0.2, beta = 0.5 }) => each(x, "f", (v) => Math.min(1, Math.max(0, alpha * v + beta)));
ops.Gelu = ([x], { approximate = "none" }) => each(x, "f", approximate === "tanh"
  ? (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v * v * v)))
  : (v) => 0.5 * v * (1 + erf(v / Math.SQRT2)));
ops.Swish = ([x], { alpha = 1 }) => each(x, "f", (v) => v * sigmoid(alpha * v));
ops.Clip = ([x, low, high]) => {
  const a = low ? low.data[0] : -Infinity, b = high ? high.data[0] : Infinity;
  return each(x, x.type, (v) => (v < a ? a : v > b ? b : v));
};
const TYPES = { 1: "f", 2: "i", 3: "i", 5: "i", 6: "i", 7: "i", 9: "b", 10: "f", 11: "d", 12: "i", 13: "i", 16: "f" };
const castTo = (x, type) => each(x, type, type === "b" ? (v) => (v ? 1 : 0) : type === "i" ? Math.trunc : (v) => v);
ops.Cast = ([x], { to }) => {
  if (!TYPES[to]) throw new Error(`Cast to the type ${to}`);
  return castTo(x, TYPES[to]);
};
ops.CastLike = ([x, like]) => castTo(x, like.type);

// ---------------------------------------------------------------- two values at a time
const together = (a, b, type, f) => {
  const shape = broadcastShape(a.shape, b.shape), out = tensor(type, shape), total = out.data.length;
  const p = a.data, q = b.data, to = out.data;
  if (p.length === total && q.length === total) for (let i = 0; i < total; i++) to[i] = f(p[i], q[i]);
  else if (p.length === total && q.length === 1) for (let i = 0; i < total; i++) to[i] = f(p[i], q[0]);
  else if (q.length === total && p.length === 1) for (let i = 0; i < total; i++) to[i] = f(p[0], q[i]);
  else {
    const atA = places(shape, broadcastStrides(a.shape, shape)), atB = places(shape, broadcastStrides(b.shape, shape));
    for (let i = 0; i < total; i++) to[i] = f(p[atA[i]], q[atB[i]]);
  }
  return out;
};
const binary = {
  Add: (a, b) => a + b, Sub: (a, b) => a - b, Mul: (a, b) => a * b, Pow: Math.pow,
};
for (const [name, f] of Object.entries(binary)) ops[name] = ([a, b]) => together(a, b, a.type, f);
ops.Div = ([a, b]) => together(a, b, a.type, a.type === "i" ? (x, y) => Math.trunc(x / y) : (x, y) => x / y);
ops.Mod = ([a, b], { fmod = 0 }) => together(a, b, a.type, fmod ? (x, y) => x % y : (x, y) => x - Math.floor(x / y) * y);
ops.PRelu = ([a, b]) => together(a, b, "f", (x, slope) => (x < 0 ? slope * x : x));
const comparisons = {
  Equal: (a, b) => a === b, Less: (a, b) => a < b, Greater: (a, b) => a > b, LessOrEqual: (a, b) => a <= b,
  GreaterOrEqual: (a, b) => a >= b, And: (a, b) => a && b, Or: (a, b) => a || b, Xor: (a, b) => !a !== !b,
};
for (const [name, f] of Object.entries(comparisons)) ops[name] = ([a, b]) => together(a, b, "b", (x, y) => (f(x, y) ? 1 : 0));
const several = { Max: Math.max, Min: Math.min, Sum: (a, b) => a + b };
for (const [name, f] of Object.entries(several)) ops[name] = (given) => given.reduce((a, b) => together(a, b, a.type, f));
ops.Where = ([condition, a, b]) => {
  const shape = broadcastShape(condition.shape, broadcastShape(a.shape, b.shape)), out = tensor(a.type, shape);
  const [atC, atA, atB] = [condition, a, b].map((x) => places(shape, broadcastStrides(x.shape, shape)));
  for (let i = 0; i < out.data.length; i++) out.data[i] = condition.data[atC[i]] ? a.data[atA[i]] : b.data[atB[i]];
  return out;
};

// ---------------------------------------------------------------- over an axis
const reduce = (x, axes, keep, begin, add, finish = (sum) => sum) => {
  const rank = x.shape.length, reduced = new Set(axes.map((axis) => axisOf(axis, rank)));
  const kept = x.shape.map((size, axis) => (reduced.has(axis) ? 1 : size)), total = count(kept);
  const own = stridesOf(kept), at = places(x.shape, own.map((step, axis) => (reduced.has(axis) ? 0 : step)));
  const sums = new Float64Array(total).fill(begin), n = x.data.length / Math.max(1, total);
  for (let i = 0; i < at.length; i++) sums[at[i]] = add(sums[at[i]], x.data[i]);
  const out = tensor(x.type, keep ? kept : x.shape.filter((_, axis) => !reduced.has(axis)));
  for (let i = 0; i < total; i++) out.data[i] = finish(sums[i], n);
  return out;
};
const reductions = {
  ReduceSum: [0, (s, v) => s + v], ReduceMean: [0, (s, v) => s + v, (s, n) => s / n], ReduceMax: [-Infinity, Math.max],
  ReduceMin: [Infinity, Math.min], ReduceProd: [1, (s, v) => s * v], ReduceL1: [0, (s, v) => s + Math.abs(v)],
  ReduceL2: [0, (s, v) => s + v * v, Math.sqrt], ReduceSumSquare: [0, (s, v) => s + v * v],
};
for (const [name, how] of Object.entries(reductions)) ops[name] = ([x, axes], { axes: old, keepdims = 1, noop_with_empty_axes = 0 }) => {
  const own = axes ? Array.from(axes.data) : old || [];
  if (!own.length && noop_with_empty_axes) return x;
  return reduce(x, own.length ? own : x.shape.map((_, axis) => axis), keepdims, ...how);
};
const byLine = (x, axis, make) => { // calls make(start, step, length, line) for each line along an axis
  const a = axisOf(axis, x.shape.length), length = x.shape[a], step = count(x.shape.slice(a + 1)), outer = count(x.shape.slice(0, a));
  for (let o = 0, line = 0; o < outer; o++) for (let i = 0; i < step; i++, line++) make(o * length * step + i, step, length, line);
};
const best = (better) => ([x], { axis = 0, keepdims = 1, select_last_index: last = 0 }) => {
  const a = axisOf(axis, x.shape.length), shape = x.shape.slice();
  shape.splice(a, 1, ...(keepdims ? [1] : []));
  const out = tensor("i", shape);
  byLine(x, a, (start, step, length, line) => {
    let found = 0;
    for (let k = 1; k < length; k++) {
      const now = x.data[start + k * step], then = x.data[start + found * step];
      if (better(now, then) || (last && now === then)) found = k;
    }
    out.data[line] = found;
  });
  return out;
};
ops.ArgMax = best((a, b) => a > b);
ops.ArgMin = best((a, b) => a < b);
const softmax = (x, axis, log) => {
  const out = floats(x.shape);
  byLine(x, axis, (start, step, length) => {
    let top = -Infinity, sum = 0;
    for (let k = 0; k < length; k++) top = Math.max(top, x.data[start + k * step]);
    for (let k = 0; k < length; k++) sum += Math.exp(x.data[start + k * step] - top);
    for (let k = 0; k < length; k++) {
      const own = x.data[start + k * step] - top;
      out.data[start + k * step] = log ? own - Math.log(sum) : Math.exp(own) / sum;
    }
  });
  return out;
};
ops.Softmax = ([x], { axis = -1 }) => softmax(x, axis, false);
ops.LogSoftmax = ([x], { axis = -1 }) => softmax(x, axis, true);
ops.CumSum = ([x, axis], { exclusive = 0, reverse = 0 }) => {
  const out = tensor(x.type, x.shape);
  byLine(x, axis.data[0], (start, step, length) => {
    let sum = 0;
    for (let n = 0; n < length; n++) {
      const at = start + (reverse ? length - 1 - n : n) * step;
      if (exclusive) out.data[at] = sum;
      sum += x.data[at];
      if (!exclusive) out.data[at] = sum;
    }
  });
  return out;
};
ops.TopK = ([x, k], { axis = -1, largest = 1 }) => {
  const a = axisOf(axis, x.shape.length), shape = x.shape.slice();
  shape[a] = k.data[0];
  const values = tensor(x.type, shape), indices = tensor("i", shape), step = count(shape.slice(a + 1));
  byLine(x, a, (start, own, length, line) => {
    const order = Array.from({ length }, (_, n) => n), at = (n) => x.data[start + n * own];
    order.sort((p, q) => (largest ? at(q) - at(p) : at(p) - at(q)) || p - q);
    const to = Math.floor(line / step) * shape[a] * step + (line % step);
    for (let n = 0; n < shape[a]; n++) {
      values.data[to + n * step] = at(order[n]);
      indices.data[to + n * step] = order[n];
    }
  });
  return [values, indices];
};

// ---------------------------------------------------------------- norms
const normed = (x, from, epsilon, mean) => {
  const rest = count(x.shape.slice(from)), out = floats(x.shape);
  for (let start = 0; start < x.data.length; start += rest) {
    let sum = 0, squares = 0;
    if (mean) for (let i = 0; i < rest; i++) sum += x.data[start + i];
    const middle = sum / rest;
    for (let i = 0; i < rest; i++) squares += (x.data[start + i] - middle) ** 2;
    const scale = 1 / Math.sqrt(squares / rest + epsilon);
    for (let i = 0; i < rest; i++) out.data[start + i] = (x.data[start + i] - middle) * scale;
  }
  return out;
};
const perChannel = (x, scale, bias) => {
  const out = floats(x.shape), area = count(x.shape.slice(2)), channels = x.shape[1];
  for (let i = 0; i < x.data.length; i++) {
    const c = Math.floor(i / area) % channels;
    out.data[i] = x.data[i] * scale.data[c] + (bias ? bias.data[c] : 0);
  }
  return out;
};
ops.LayerNormalization = ([x, scale, bias], { axis = -1, epsilon = 1e-5 }) => {
  const scaled = ops.Mul([normed(x, axisOf(axis, x.shape.length), epsilon, true), scale]);
  return bias ? ops.Add([scaled, bias]) : scaled;
};
ops.RMSNormalization = ([x, scale], { axis = -1, epsilon = 1e-5 }) => ops.Mul([normed(x, axisOf(axis, x.shape.length), epsilon, false), scale]);
ops.InstanceNormalization = ([x, scale, bias], { epsilon = 1e-5 }) => perChannel(normed(x, 2, epsilon, true), scale, bias);
ops.GroupNormalization = ([x, scale, bias], { num_groups: groups, epsilon = 1e-5 }) => {
  const grouped = floats([x.shape[0], groups, count(x.shape.slice(1)) / groups], x.data);
  return perChannel(floats(x.shape, normed(grouped, 2, epsilon, true).data), scale, bias);
};
ops.BatchNormalization = ([x, scale, bias, mean, variance], { epsilon = 1e-5 }) => {
  const factor = floats(scale.shape, scale.data.map((s, c) => s / Math.sqrt(variance.data[c] + epsilon)));
  return perChannel(x, factor, floats(bias.shape, bias.data.map((b, c) => b - mean.data[c] * factor.data[c])));
};

// ---------------------------------------------------------------- shapes and places
ops.Shape = ([x], { start = 0, end }) => { const part = x.shape.slice(start, end); return ints([part.length], part); };
ops.Size = ([x]) => ints([], [x.data.length]);
const reshaped = (x, shape) => ({ type: x.type, shape, data: x.data, constant: x.constant });
ops.Reshape = ([x, to], { allowzero = 0 }) => {
  const shape = Array.from(to.data, (size, axis) => (size === 0 && !allowzero ? x.shape[axis] : size)), open = shape.indexOf(-1);
  if (open >= 0) shape[open] = x.data.length / count(shape.filter((_, axis) => axis !== open)) || 0;
  if (count(shape) !== x.data.length) throw new Error(`[${x.shape}] does not reshape to [${shape}]`);
  return reshaped(x, shape);
};
ops.Flatten = ([x], { axis = 1 }) => reshaped(x, [count(x.shape.slice(0, axis)), count(x.shape.slice(axis))]);
ops.Squeeze = ([x, axes], { axes: old }) => {
  const own = axes ? Array.from(axes.data) : old, out = own && new Set(own.map((axis) => axisOf(axis, x.shape.length)));
  return reshaped(x, x.shape.filter((size, axis) => (out ? !out.has(axis) : size !== 1)));
};
ops.Unsqueeze = ([x, axes], { axes: old }) => {
  const own = axes ? Array.from(axes.data) : old, rank = x.shape.length + own.length, rest = x.shape.slice();
  const added = new Set(own.map((axis) => axisOf(axis, rank)));
  return reshaped(x, Array.from({ length: rank }, (_, axis) => (added.has(axis) ? 1 : rest.shift())));
};
ops.Transpose = ([x], { perm = x.shape.map((_, axis) => axis).reverse() }) => {
  const own = stridesOf(x.shape);
  return taken(x, perm.map((axis) => x.shape[axis]), perm.map((axis) => own[axis]));
};
ops.Expand = ([x, to]) => {
  const shape = broadcastShape(x.shape, Array.from(to.data));
  return taken(x, shape, broadcastStrides(x.shape, shape));
};
ops.Tile = ([x, repeats]) => {
  const shape = x.shape.map((size, axis) => size * repeats.data[axis]), own = stridesOf(x.shape), out = tensor(x.type, shape), steps = stridesOf(shape);
  for (let i = 0; i < out.data.length; i++) out.data[i] = x.data[shape.reduce((at, _, axis) => at + (Math.floor(i / steps[axis]) % shape[axis] % x.shape[axis]) * own[axis], 0)];
  return out;
};
ops.Concat = (given, { axis }) => {
  const a = axisOf(axis, given[0].shape.length), shape = given[0].shape.slice();
  shape[a] = given.reduce((sum, x) => sum + x.shape[a], 0);
  const out = tensor(given[0].type, shape), outer = count(shape.slice(0, a)), row = count(shape.slice(a));
  let first = 0;
  for (const x of given) {
    const own = count(x.shape.slice(a));
    for (let o = 0; o < outer; o++) out.data.set(x.data.subarray(o * own, (o + 1) * own), o * row + first);
    first += own;
  }
  return out;
};
ops.Split = ([x, sizes], { axis = 0, num_outputs: parts, split: old }, outputs) => {
  const a = axisOf(axis, x.shape.length), each = Math.ceil(x.shape[a] / (parts || outputs));
  const own = sizes ? Array.from(sizes.data) : old || Array.from({ length: parts || outputs }, (_, n) => Math.min(each, x.shape[a] - n * each));
  const steps = stridesOf(x.shape);
  let first = 0;
  return own.map((size) => {
    const shape = x.shape.slice();
    shape[a] = size;
    const part = taken(x, shape, steps, first * steps[a]);
    first += size;
    return part;
  });
};
ops.Slice = ([x, starts, ends, axes, steps]) => {
  const shape = x.shape.slice(), strides = stridesOf(x.shape), own = stridesOf(x.shape);
  let at = 0;
  for (let n = 0; n < starts.data.length; n++) {
    const a = axisOf(axes ? axes.data[n] : n, shape.length), size = x.shape[a], step = steps ? steps.data[n] : 1;
    const inside = (value, low, high) => Math.min(high, Math.max(low, value < 0 ? value + size : value));
    const start = step > 0 ? inside(starts.data[n], 0, size) : inside(starts.data[n], 0, size - 1);
    const end = step > 0 ? inside(ends.data[n], 0, size) : ends.data[n] < -size ? -1 : inside(ends.data[n], -1, size - 1);
    shape[a] = Math.max(0, Math.ceil((end - start) / step));
    at += start * own[a];
    strides[a] = own[a] * step;
  }
  return taken(x, shape, strides, at);
};
ops.Gather = ([x, indices], { axis = 0 }) => {
  const a = axisOf(axis, x.shape.length), size = x.shape[a], inner = count(x.shape.slice(a + 1)), outer = count(x.shape.slice(0, a));
  const out = tensor(x.type, [...x.shape.slice(0, a), ...indices.shape, ...x.shape.slice(a + 1)]);
  let to = 0;
  for (let o = 0; o < outer; o++) for (let n = 0; n < indices.data.length; n++, to += inner) {
    const at = (o * size + axisOf(indices.data[n], size)) * inner;
    if (inner === 1) out.data[to] = x.data[at];
    else out.data.set(x.data.subarray(at, at + inner), to);
  }
  return out;
};
ops.GatherElements = ([x, indices], { axis = 0 }) => {
  const a = axisOf(axis, x.shape.length), own = stridesOf(x.shape), out = tensor(x.type, indices.shape);
  const at = places(indices.shape, own.map((step, b) => (b === a ? 0 : step)));
  for (let i = 0; i < at.length; i++) out.data[i] = x.data[at[i] + axisOf(indices.data[i], x.shape[a]) * own[a]];
  return out;
};
ops.GatherND = ([x, indices]) => {
  const deep = indices.shape[indices.shape.length - 1], own = stridesOf(x.shape), inner = count(x.shape.slice(deep));
  const out = tensor(x.type, [...indices.shape.slice(0, -1), ...x.shape.slice(deep)]);
  for (let n = 0; n < indices.data.length / deep; n++) {
    let at = 0;
    for (let d = 0; d < deep; d++) at += axisOf(indices.data[n * deep + d], x.shape[d]) * own[d];
    out.data.set(x.data.subarray(at, at + inner), n * inner);
  }
  return out;
};
ops.ScatterND = ([x, indices, updates]) => {
  const deep = indices.shape[indices.shape.length - 1], own = stridesOf(x.shape), inner = count(x.shape.slice(deep));
  const out = tensor(x.type, x.shape, x.data.slice());
  for (let n = 0; n < indices.data.length / deep; n++) {
    let at = 0;
    for (let d = 0; d < deep; d++) at += axisOf(indices.data[n * deep + d], x.shape[d]) * own[d];
    out.data.set(updates.data.subarray(n * inner, (n + 1) * inner), at);
  }
  return out;
};
ops.ScatterElements = ([x, indices, updates], { axis = 0 }) => {
  const a = axisOf(axis, x.shape.length), own = stridesOf(x.shape), out = tensor(x.type, x.shape, x.data.slice());
  const at = places(indices.shape, own.map((step, b) => (b === a ? 0 : step)));
  for (let i = 0; i < at.length; i++) out.data[at[i] + axisOf(indices.data[i], x.shape[a]) * own[a]] = updates.data[i];
  return out;
};
ops.Pad = ([x, pads, value, axes], { mode = "constant" }) => {
  const rank = x.shape.length, named = axes ? Array.from(axes.data, (axis) => axisOf(axis, rank)) : x.shape.map((_, axis) => axis);
  const before = new Array(rank).fill(0), shape = x.shape.slice(), own = stridesOf(x.shape);
  named.forEach((axis, n) => {
    before[axis] = pads.data[n];
    shape[axis] += pads.data[n] + pads.data[n + named.length];
  });
  const out = tensor(x.type, shape), steps = stridesOf(shape), filler = value && value.data.length ? value.data[0] : 0;
  for (let i = 0; i < out.data.length; i++) {
    let at = 0;
    for (let axis = 0; axis < rank && at >= 0; axis++) {
      const size = x.shape[axis];
      let place = (Math.floor(i / steps[axis]) % shape[axis]) - before[axis];
      if (place < 0 || place >= size) {
        if (mode === "constant") { at = -1; break; }
        place = mode === "edge" ? Math.min(size - 1, Math.max(0, place)) : place < 0 ? -place : 2 * (size - 1) - place;
      }
      at += place * own[axis];
    }
    out.data[i] = at < 0 ? filler : x.data[at];
  }
  return out;
};
ops.ConstantOfShape = ([shape], { value }) => {
  const own = value || floats([1]), out = tensor(own.type, Array.from(shape.data));
  out.data.fill(own.data[0]);
  return out;
};
ops.Range = ([start, limit, delta]) => {
  const length = Math.max(0, Math.ceil((limit.data[0] - start.data[0]) / delta.data[0])), out = tensor(start.type, [length]);
  for (let i = 0; i < length; i++) out.data[i] = start.data[0] + i * delta.data[0];
  return out;
};
ops.OneHot = ([indices, depth, values], { axis = -1 }) => {
  const a = axisOf(axis, indices.shape.length + 1), k = depth.data[0], shape = indices.shape.slice();
  shape.splice(a, 0, k);
  const out = tensor(values.type, shape), inner = count(shape.slice(a + 1));
  out.data.fill(values.data[0]);
  indices.data.forEach((index, n) => { out.data[(Math.floor(n / inner) * k + axisOf(index, k)) * inner + (n % inner)] = values.data[1]; });
  return out;
};
ops.Trilu = ([x, k], { upper = 1 }) => {
  const [rows, columns] = x.shape.slice(-2), by = k ? k.data[0] : 0, out = tensor(x.type, x.shape, x.data.slice());
  for (let i = 0; i < out.data.length; i++) {
    const row = Math.floor(i / columns) % rows, column = i % columns;
    if (upper ? column < row + by : column > row + by) out.data[i] = 0;
  }
  return out;
};
ops.DepthToSpace = ([x], { blocksize: s, mode = "DCR" }) => {
  const [n, c, h, w] = x.shape, own = c / (s * s), crd = mode === "CRD";
  const parts = ops.Transpose([reshaped(x, crd ? [n, own, s, s, h, w] : [n, s, s, own, h, w])], { perm: crd ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2] });
  return reshaped(parts, [n, own, h * s, w * s]);
};
ops.SpaceToDepth = ([x], { blocksize: s }) => {
  const [n, c, h, w] = x.shape;
  return reshaped(ops.Transpose([reshaped(x, [n, c, h / s, s, w / s, s])], { perm: [0, 3, 5, 1, 2, 4] }), [n, c * s * s, h / s, w / s]);
};
ops.Resize = ([x, , scales, sizes], { mode = "nearest", coordinate_transformation_mode: where = "half_pixel", nearest_mode: rounding = "round_prefer_floor" }) => {
  const shape = sizes && sizes.data.length ? Array.from(sizes.data) : x.shape.map((size, axis) => Math.floor(size * scales.data[axis]));
  const scale = (axis) => (scales && scales.data.length ? scales.data[axis] : shape[axis] / x.shape[axis]);
  const from = (i, axis) => (where === "asymmetric" ? i / scale(axis)
    : where === "align_corners" ? (shape[axis] > 1 ? (i * (x.shape[axis] - 1)) / (shape[axis] - 1) : 0)
    : where === "pytorch_half_pixel" && shape[axis] === 1 ? 0 : (i + 0.5) / scale(axis) - 0.5);
  const round = { floor: Math.floor, ceil: Math.ceil, round_prefer_ceil: (v) => Math.floor(v + 0.5), round_prefer_floor: (v) => Math.ceil(v - 0.5) }[rounding];
  if (mode === "cubic") throw new Error("Resize with cubic interpolation");
  let now = x;
  for (let axis = 0; axis < shape.length; axis++) {
    if (now.shape[axis] === shape[axis]) continue;
    const size = now.shape[axis], next = now.shape.slice(), inner = count(now.shape.slice(axis + 1)), outer = count(now.shape.slice(0, axis));
    next[axis] = shape[axis];
    const out = tensor(x.type, next), clamp = (v) => Math.min(size - 1, Math.max(0, v));
    for (let o = 0; o < outer; o++) for (let i = 0; i < shape[axis]; i++) {
      const at = from(i, axis), low = mode === "nearest" ? clamp(round(at)) : clamp(Math.floor(at)), high = mode === "nearest" ? low : clamp(Math.floor(at) + 1);
      const part = mode === "nearest" ? 0 : clamp(at) - low;
      for (let k = 0; k < inner; k++) out.data[(o * shape[axis] + i) * inner + k] =
        now.data[(o * size + low) * inner + k] * (1 - part) + now.data[(o * size + high) * inner + k] * part;
    }
    now = out;
  }
  return now;
};

// ---------------------------------------------------------------- a graph
class Graph {
  // nodes: [operator, inputs, outputs, attributes]; constants: name -> tensor
  constructor({ inputs, outputs, nodes }, constants) {
    this.inputs = inputs;
    this.outputs = outputs;
    this.nodes = nodes;
    this.constants = constants;
    for (const x of constants.values()) x.constant = true;
    const missing = [...new Set(nodes.map(([op]) => op))].filter((op) => !ops[op]);
    if (missing.length) throw new Error(`this page cannot run the operator ${missing.join(", ")}`);
    this.last = new Map(); // the last node that reads a value: the value is dropped after it
    nodes.forEach(([, given], n) => given.forEach((name) => this.last.set(name, n)));
  }

  run(given) {
    const values = new Map(this.constants), kept = new Set(this.outputs);
    for (const name of this.inputs) {
      if (!given[name]) throw new Error(`the argument ${name} is missing`);
      values.set(name, given[name]);
    }
    this.nodes.forEach(([op, from, to, attributes], n) => {
      const found = ops[op](from.map((name) => (name ? values.get(name) : undefined)), attributes, to.length);
      (Array.isArray(found) ? found : [found]).forEach((value, i) => to[i] && values.set(to[i], value));
      for (const name of from) if (this.last.get(name) === n && !kept.has(name) && !this.constants.has(name)) values.delete(name);
    });
    return Object.fromEntries(this.outputs.map((name) => [name, values.get(name)]));
  }
}
