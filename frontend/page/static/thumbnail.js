// Small copies of large photos for the cards. A browser keeps every photo that it has shown, which would be 2.4 GB for
// 1,000 photos of 12 megapixels.

const WIDTH = 480; // pixels
const AT_ONCE = 2; // a photo of 12 megapixels takes 50 MB while it is made smaller
const actions = new WeakMap(); // by the element that they wait for
const waiting = [];
let active = 0;

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    waiting.push(actions.get(target));
  }
  work();
}, { rootMargin: "50%" });

// When `element` comes near the window, call `show` with the URL of a small copy of the file, or null if there is none.
// Returns a function that cancels this.
export function smallWhenNear(element, file, show) {
  let isCancelled = false;
  actions.set(element, async () => {
    const url = isCancelled ? null : await small(file).catch(() => null);
    if (isCancelled) URL.revokeObjectURL(url);
    else show(url);
  });
  observer.observe(element);
  return () => {
    isCancelled = true;
    observer.unobserve(element);
  };
}

function work() {
  while (active < AT_ONCE && waiting.length) {
    active++;
    waiting.pop()().finally(() => { active--; work(); }); // the latest one first, because it is in view
  }
}

async function small(file) {
  const bitmap = await createImageBitmap(file, { resizeWidth: WIDTH, resizeQuality: "medium" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
  return URL.createObjectURL(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 }));
}
