// Says what is on a photo, word by word: node caption.js FOLDER PHOTO.ppm
// FOLDER is what `fuseline export --embed` has written; the photo is a binary PPM, upright.
import { readFileSync } from "node:fs";

process.env.ORT_DISABLE_TELEMETRY = "1"; // before it is loaded, or it reports to its makers
const { InferenceSession, Tensor } = await import("onnxruntime-node");

const [folder, path, ...others] = process.argv.slice(2);
if (path === undefined || others.length) throw new Error("node caption.js FOLDER PHOTO.ppm: options are the model's own");
const open = (name) => InferenceSession.create(`${folder}/${name}.onnx`, { logSeverityLevel: 3 });
const [start, step] = await Promise.all([open("start"), open("step")]);
const words = JSON.parse(readFileSync(`${folder}/words.json`, "utf8"));

/** A binary PPM as uint8[height, width, 3]. */
function photo(file) {
  const [header, width, height] = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(file.toString("latin1", 0, 64)) ?? [];
  if (header === undefined) throw new Error("the photo must be a PPM file of 8 bits (P6)");
  return new Tensor("uint8", Uint8Array.from(file.subarray(header.length)), [Number(height), Number(width), 3]);
}

/** The text of tokens: their words one after the other, and the clean-up. */
function text(tokens) {
  let begun = false;
  const said = tokens.map((token) => {
    const word = (begun ? words.later : words.first ?? words.later)[token];
    begun ||= Boolean(words.begins[token]);
    return Buffer.from(word); // a string, or bytes of a part of a character
  });
  return words.clean_up.reduce((all, [spaced, close]) => all.replaceAll(spaced, close), Buffer.concat(said).toString());
}

/** Runs a graph. onnxruntime-node drops inputs that may be left out, all options among them, without a word. */
function run(session, feeds) {
  const dropped = Object.keys(feeds).filter((name) => !session.inputNames.includes(name));
  if (dropped.length) throw new Error(`onnxruntime-node would drop ${dropped.join(", ")}; see docs/embedding.md`);
  return session.run(feeds);
}

const feeds = await run(start, { image: photo(readFileSync(path)) });
for (let finished = false; !finished; ) {
  const result = await run(step, feeds);
  finished = Boolean(result.finished.data[0]);
  const best = result[finished ? "sequences" : "next.history"]; // the first row, which may end in -1
  const tokens = Array.from(best.data.subarray(0, best.dims[1]), Number).filter((token) => token >= 0);
  console.log(text(tokens)); // the best so far; the last line is the caption
  for (const [name, value] of Object.entries(result)) if (name.startsWith("next.")) feeds[`state.${name.slice(5)}`] = value;
}
