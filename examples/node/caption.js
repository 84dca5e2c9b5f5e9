// Says what is on a photo, word by word: node caption.js FOLDER PHOTO.ppm
// FOLDER is what `fuseline export --embed` has written; the photo is a binary PPM, upright.
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";

const [folder, path] = process.argv.slice(2);
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

const feeds = await start.run({ image: photo(readFileSync(path)) });
for (let finished = false; !finished; ) {
  const result = await step.run({ ...feeds, partial: new Tensor("bool", [true], []) });
  finished = Boolean(result.finished.data[0]);
  const [, length] = result.sequences.dims;
  console.log(text(Array.from(result.sequences.data.slice(0, length), Number))); // the best so far; the last line is the caption
  for (const [name, value] of Object.entries(result)) if (name.startsWith("next.")) feeds[`state.${name.slice(5)}`] = value;
}
