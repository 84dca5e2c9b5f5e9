// Drops a photo onto the page in Chromium, and prints what the page says: node test.js PHOTO [PHOTO ...]
import { resolve } from "node:path";
import puppeteer from "puppeteer-core";
import { serve } from "./serve.js";

const server = await serve(import.meta.dirname, 0);
const own = `http://127.0.0.1:${server.address().port}/`;
const browser = await puppeteer.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  const elsewhere = [];
  page.on("request", (request) => { if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(own)) elsewhere.push(request.url()); });
  page.on("pageerror", (error) => console.error(`the page: ${error.message}`));
  await page.goto(own);
  const note = (pattern) => page.waitForFunction((text) => new RegExp(text).test(document.querySelector("#note").textContent), { timeout: 60000 }, pattern);
  const read = (id) => page.$eval(id, (element) => element.textContent);
  await note("loaded");
  if (/^not loaded/.test(await read("#note"))) throw new Error(await read("#note"));
  console.error(await read("#note"));
  const devtools = await page.createCDPSession();
  for (const photo of process.argv.slice(2)) {
    const data = { items: [], files: [resolve(photo)], dragOperationsMask: 1 };
    for (const type of ["dragEnter", "dragOver", "drop"]) await devtools.send("Input.dispatchDragEvent", { type, x: 300, y: 100, data });
    await note("caption");
    console.error(await read("#note"));
    console.log(await read("#text"));
  }
  if (process.env.SCREENSHOT) await page.screenshot({ path: process.env.SCREENSHOT });
  if (elsewhere.length) throw new Error(`the page asked for ${elsewhere}`);
} finally {
  await browser.close();
  server.close();
}
