// The start of the page: its images, and what listens to people.

let codeCells = [];
const loadExamples = async () => {
  if (!data.sprite) return;
  const picture = new Image();
  picture.src = data.sprite.png;
  await picture.decode();
  const canvas = make("canvas", { width: picture.naturalWidth, height: picture.naturalHeight }), pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.drawImage(picture, 0, 0);
  for (let i = 0; i < data.sprite.count; i++) {
    const own = pen.getImageData((i % data.sprite.columns) * W, Math.floor(i / data.sprite.columns) * H, W, H).data, pixels = new Uint8ClampedArray(C * H * W);
    for (let k = 0; k < H * W; k++) for (let c = 0; c < C; c++) pixels[c * H * W + k] = own[4 * k + c];
    state.examples.push(pixels);
  }
};
const begin = async () => {
  await loadExamples();
  codeCells = positionGrid($("codes"), { name: "codes", choose: (at) => { inspect(at); $("code").focus({ preventScroll: true }); $("code").select(); }, hover: inspect });
  if (prior) listenForBrush();
  if ($("larger")) listenForCanvas();
  if (state.examples.length) setImage(state.examples[0]);
  else openFirst();
  document.documentElement.dataset.first = (performance.now() - started).toFixed(1);
  document.documentElement.dataset.sinceOpened = performance.now().toFixed(1);
  $("examples").replaceChildren(...state.examples.slice(0, 16).map((pixels, i) => make("button", { type: "button", class: "thumb", "aria-label": `image ${i + 1}`, onclick: () => { say(""); forgetPaint(); setImage(pixels); } }, canvasOf(pixels))));
  $("place").replaceChildren(...Array.from({ length: n }, (_, p) => make("option", { value: String(p) }, `code ${p + 1} of ${n}`)));
  $("place").parentElement.hidden = n === 1;
  $("place").addEventListener("change", (event) => { state.place = Number(event.target.value); show(); });
  $("code").max = K - 1;
  $("code").addEventListener("change", (event) => swap(Number(event.target.value)));
  $("undo").onclick = () => setCodes(state.before.pop());
  $("reset").onclick = () => { state.before.push(state.codes.slice()); setCodes(state.own); };
  listenForFiles();
  listenForPaint();
  if (prior) {
    $("label").append(...data.classes.map((name, i) => make("option", { value: String(i) }, name)));
    for (const id of ["label", "guidance"]) $(id).parentElement.hidden = !prior.numClasses;
    for (const [name, own] of Object.entries(data.sampling)) if (own !== null) $(name.replace("_", "-")).value = own;
    $("draw").onclick = () => drawSamples();
    $("stop").onclick = () => { state.busy++; };
    $("bits-button").onclick = () => { $("image-bits-words").textContent = showBits(state.codes, $("image-bits"), null); };
  }
  listenForWalk();
  document.documentElement.dataset.ready = "true";
};
const openFirst = () => { // without images, the page begins with a picture of the first codes
  const codes = Float64Array.from({ length: LENGTH }, (_, i) => i % K);
  openSample(codes);
};
globalThis.vqvaePage = { larger, tokenizer, prior, state, imagesOf, pixelsOf, sampleCodes, inpaintCodes, bitsOfCodes, fitted, tensor, ints, floats, Graph, ops };
begin().catch((error) => say(`the page could not start: ${error.message}`, true));
