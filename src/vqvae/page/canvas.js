// A larger canvas: the prior draws codes around the image, or a whole canvas, in windows of the trained size.

const larger = { grid: [h, 2 * w], at: [0, 0], codes: null, cells: [] };
const canvasGrid = () => [wholeNumber("canvas-rows", h, Math.max(32, 2 * h)), wholeNumber("canvas-columns", w, Math.max(32, 2 * w))];
const canvasKept = (rows, columns) => { // for each position of the canvas, whether it is the image's
  const kept = new Uint8Array(rows * columns), [top, left] = larger.at;
  if ($("canvas-keep").checked) for (let y = 0; y < h; y++) kept.fill(1, (top + y) * columns + left, (top + y) * columns + left + w);
  return kept;
};
const showCanvas = ([rows, columns], codes, known) => { // the positions that are known, decoded
  const height = rows * f, width = columns * f, area = height * width, pen = $("canvas").getContext("2d");
  $("canvas").width = width;
  $("canvas").height = height;
  const pixels = pixelsOf(tokenizer.decode(tensor("i", [1, rows, columns, n], Float64Array.from(codes)))), own = pen.createImageData(width, height);
  for (let i = 0; i < area; i++) {
    const position = Math.floor(Math.floor(i / width) / f) * columns + Math.floor((i % width) / f);
    for (let c = 0; c < 3; c++) own.data[4 * i + c] = pixels[(C === 1 ? 0 : c) * area + i];
    own.data[4 * i + 3] = known(position) ? 255 : 0;
  }
  pen.putImageData(own, 0, 0);
};
const showCanvasBefore = () => { // the image in its place, before anything is drawn
  if (!$("larger") || larger.codes) return;
  const [rows, columns] = larger.grid, kept = canvasKept(rows, columns), [top, left] = larger.at, missing = kept.length - kept.reduce((a, b) => a + b, 0);
  $("canvas").width = columns * f;
  $("canvas").height = rows * f;
  if ($("canvas-keep").checked) $("canvas").getContext("2d").drawImage(canvasOf(state.output), left * f, top * f);
  larger.cells.forEach((cell, at) => cell.setAttribute("aria-pressed", String(!!kept[at])));
  $("canvas-words").textContent = `${columns * f}×${rows * f} pixels; ${missing} of ${kept.length} positions to draw`;
  $("canvas-cells").classList.remove("done");
  $("canvas-draw").disabled = !missing;
  $("canvas-save").disabled = true;
};
const makeCanvasCells = () => {
  const [rows, columns] = larger.grid;
  larger.cells = positionGrid($("canvas-cells"), { name: "positions of the canvas; choose where the image stands", rows, columns, choose: placeImage });
};
const changeCanvas = () => {
  larger.grid = canvasGrid();
  larger.codes = null;
  larger.at = larger.at.map((start, axis) => Math.min(start, larger.grid[axis] - [h, w][axis]));
  makeCanvasCells();
  showCanvasBefore();
};
const placeImage = (position) => { // the chosen position becomes the middle of the image
  if (!$("canvas-keep").checked) return;
  const [rows, columns] = larger.grid, within = (value, most) => Math.min(Math.max(0, value), most);
  larger.at = [within(Math.floor(position / columns) - Math.floor(h / 2), rows - h), within((position % columns) - Math.floor(w / 2), columns - w)];
  larger.codes = null;
  state.busy++;
  showCanvasBefore();
};
const drawCanvas = guarded(async (_, stale) => {
  say("");
  const grid = canvasGrid(), [rows, columns] = grid, kept = canvasKept(rows, columns), around = $("canvas-keep").checked;
  const { controls: how, label } = controls(around ? "fill-temperature" : "temperature");
  const seed = wholeNumber("seed", 0, Number.MAX_SAFE_INTEGER), candidates = around ? wholeNumber("canvas-candidates", 1, 16) : 1, over = rows === h && columns === w ? prior : new WindowedPrior(prior, grid);
  const codes = new Int32Array(kept.length * n), length = codes.length, missing = n * (kept.length - kept.reduce((a, b) => a + b, 0)), begun = performance.now();
  const keep = Array.from(codes, (__, i) => !!kept[Math.floor(i / n)]);
  if (around) for (let y = 0; y < h; y++) codes.set(state.codes.subarray(y * w * n, (y + 1) * w * n), ((larger.at[0] + y) * columns + larger.at[1]) * n);
  let done = 0, last = 0;
  const watch = async (i, drawn) => {
    if (stale()) throw new Error("stopped");
    if (!keep[i]) done++;
    if (performance.now() - last < 100) return;
    const left = ((performance.now() - begun) * (missing - done)) / Math.max(1, done) / 1000;
    $("canvas-words").textContent = `code ${done} of ${missing}${done > 3 ? `, about ${Math.ceil(left)} s left` : ""}`;
    if ((i + 1) % (columns * n) < n || performance.now() - last > 1000) {
      const now = Array.from(codes, (code, k) => (k <= i ? drawn[0][k] : code));
      showCanvas(grid, now, (position) => kept[position] || (position + 1) * n <= i + 1);
    }
    last = performance.now();
    await nextFrame();
  };
  $("canvas-draw").disabled = true;
  larger.codes = null;
  try {
    larger.codes = around
      ? (await inpaintCodes(over, { codes: Array.from(codes), keep, seed, num: 1, candidates, label, controls: how, watch }))[0]
      : (await sampleCodes(over, { seed, num: 1, label, controls: how, watch }))[0];
    showCanvas(grid, larger.codes, () => true);
    $("canvas-words").textContent = `${columns * f}×${rows * f} pixels: ${missing} of ${length} codes drawn in ${((performance.now() - begun) / 1000).toFixed(1)} s`;
    $("canvas-cells").classList.add("done");
    $("canvas-save").disabled = false;
    $("canvas-draw").disabled = false;
  } catch (error) {
    showCanvasBefore();
    throw error;
  }
});
const saveCanvas = () => make("a", { href: $("canvas").toDataURL("image/png"), download: "canvas.png" }).click();
const listenForCanvas = () => {
  $("canvas-rows").value = h;
  $("canvas-columns").value = 2 * w;
  for (const id of ["canvas-rows", "canvas-columns", "canvas-keep"]) $(id).addEventListener("change", () => { state.busy++; guarded(async () => { say(""); changeCanvas(); })(); });
  $("canvas-draw").onclick = drawCanvas;
  $("canvas-stop").onclick = () => { state.busy++; };
  $("canvas-save").onclick = saveCanvas;
  makeCanvasCells();
};
