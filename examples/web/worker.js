// Captions the photos that the page sends, a word at a time. captioner/ is what `fuseline export --embed --inline` has written.
import { env, InferenceSession, Tensor } from "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";

const SHORTEST = 640; // pixels of a photo's shorter side: more take time, and the model sees fewer than half of them
// A model of one Identity: what onnxruntime needs to be started with.
const SMALLEST = Uint8Array.from(atob("CAk6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEBQ="), (each) => each.charCodeAt(0));
env.wasm.numThreads = 1;
const before = performance.now();
const bytes = async (name) => {
  const response = await fetch(`captioner/${name}`);
  if (!response.ok) throw new Error(`captioner/${name} is not there to be read (status ${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
};
const names = ["start.onnx", "step.onnx", "weights.bin", "words.json"];
const files = Promise.all(names.map(bytes));
const ready = InferenceSession.create(SMALLEST); // WebAssembly is fetched and compiled while the files come
const loaded = Promise.all([files, ready]).then(async ([[start, step, weights, text]]) => {
  const options = {
    externalData: [{ path: "weights.bin", data: weights }],
    graphOptimizationLevel: "basic", // the others take longer to load, and are no faster in WebAssembly
    logSeverityLevel: 3,
  };
  // A browser compiles well only what has run, on other threads: without a photo before the first, that one would take half
  // as long again. What the first graph has run is compiled while the second is read.
  const encoder = await InferenceSession.create(start, options);
  const feeds = await encoder.run({ image: new Tensor("uint8", new Uint8Array(3), [1, 1, 3]) });
  const decoder = await InferenceSession.create(step, options);
  await decoder.run(feeds);
  postMessage({ note: `loaded in ${Math.round(performance.now() - before)} ms` });
  return [encoder, decoder, JSON.parse(new TextDecoder().decode(text))];
});
loaded.catch((error) => postMessage({ note: `not loaded: ${error.message}` }));

/** A photo's pixels, upright, uint8[height, width, 3]. */
async function pixels(file) {
  const photo = await createImageBitmap(file);
  const scale = Math.min(1, SHORTEST / Math.min(photo.width, photo.height));
  const [width, height] = [photo.width, photo.height].map((each) => Math.max(1, Math.round(each * scale)));
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  canvas.fillStyle = "white"; // behind what can be seen through
  canvas.fillRect(0, 0, width, height);
  canvas.drawImage(photo, 0, 0, width, height);
  const rgba = canvas.getImageData(0, 0, width, height).data;
  const rgb = new Uint8Array(3 * width * height);
  for (let from = 0, to = 0; from < rgba.length; from += 4) for (let colour = 0; colour < 3; colour++) rgb[to++] = rgba[from + colour];
  return new Tensor("uint8", rgb, [height, width, 3]);
}

/** The text of tokens: their words one after the other, and the clean-up. */
function said(tokens, words) {
  let begun = false;
  const all = tokens.flatMap((token) => {
    const word = (begun ? words.later : words.first ?? words.later)[token];
    begun ||= Boolean(words.begins[token]);
    return typeof word === "string" ? [...new TextEncoder().encode(word)] : word; // or bytes of a part of a character
  });
  return words.clean_up.reduce((text, [spaced, close]) => text.replaceAll(spaced, close), new TextDecoder().decode(Uint8Array.from(all)));
}

/** Lets messages in; a timeout would, too, and take 4 ms each. */
const turn = () => new Promise((resume) => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { port1.close(); resume(); };
  port2.postMessage(null);
});

let newest;
onmessage = async ({ data: file }) => {
  newest = file;
  try {
    const [start, step, words] = await loaded;
    const before = performance.now();
    const feeds = await start.run({ image: await pixels(file) }); // onnxruntime-web refuses inputs that may be left out, options too
    for (let finished = false; !finished; ) {
      const result = await step.run(feeds);
      finished = Boolean(result.finished.data[0]);
      const best = result[finished ? "sequences" : "next.history"]; // the first row, which may end in -1
      const tokens = Array.from(best.data.subarray(0, best.dims[1]), Number).filter((token) => token >= 0);
      await turn(); // another photo may have come
      if (newest !== file) return;
      postMessage({ text: said(tokens, words) });
      for (const [name, value] of Object.entries(result)) if (name.startsWith("next.")) feeds[`state.${name.slice(5)}`] = value;
    }
    postMessage({ note: `caption in ${Math.round(performance.now() - before)} ms` });
  } catch (error) {
    postMessage({ note: `no caption: ${error.message}` });
  }
};
