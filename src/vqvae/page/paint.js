// A brush: strokes on the original image, or on a blank one. A stroke is encoded while it grows.

const paint = { before: null, last: null, at: 0 };
const painted = () => { // the original as people see it now becomes the image
  setImage(fitted($("original").getContext("2d").getImageData(0, 0, W, H), tokenizer).pixels);
  paint.at = performance.now();
};
const pointOf = (event) => {
  const box = $("original").getBoundingClientRect();
  return [((event.clientX - box.x) / box.width) * W, ((event.clientY - box.y) / box.height) * H];
};
const strokeTo = (point) => {
  const pen = $("original").getContext("2d");
  Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: Number($("brush-size").value), strokeStyle: $("brush-colour").value });
  pen.beginPath();
  pen.moveTo(...paint.last);
  pen.lineTo(...point);
  pen.stroke();
  paint.last = point;
};
const rememberImage = () => { paint.before ??= state.pixels; $("paint-back").disabled = false; };
const listenForPaint = () => {
  const canvas = $("original"), on = () => $("paint").getAttribute("aria-pressed") === "true";
  $("brush-size").max = Math.max(2, Math.round(Math.min(H, W) / 2));
  $("brush-size").value = Math.max(1, Math.round(Math.min(H, W) / 10));
  $("paint").onclick = () => {
    $("paint").setAttribute("aria-pressed", String(!on()));
    $("paint-controls").hidden = !on();
    canvas.classList.toggle("painting", on());
  };
  $("paint-blank").onclick = () => {
    rememberImage();
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, W, H);
    painted();
  };
  $("paint-back").onclick = () => { setImage(paint.before); forgetPaint(); };
  canvas.addEventListener("pointerdown", (event) => {
    if (!on()) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    rememberImage();
    paint.last = pointOf(event);
    strokeTo(paint.last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!paint.last) return;
    strokeTo(pointOf(event));
    if (performance.now() - paint.at > 4 * Number(document.documentElement.dataset.reconstruction || 50)) painted();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { if (paint.last) { paint.last = null; painted(); } });
};
const forgetPaint = () => { paint.before = null; $("paint-back").disabled = true; }; // another image was opened
