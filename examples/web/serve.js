// The files of this folder at http://localhost:8000, as any server of files has them: node serve.js [PORT]
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const KINDS = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".json": "application/json", ".wasm": "application/wasm" };

/** Serves a folder to this machine alone; port 0: any that is free. Resolves to the server. */
export function serve(folder, port) {
  const server = createServer((request, response) => {
    const asked = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    const path = join(folder, normalize(asked.endsWith("/") ? `${asked}index.html` : asked));
    const there = existsSync(path) && statSync(path).isFile();
    response.writeHead(there ? 200 : 404, { "Content-Type": KINDS[extname(path)] ?? "application/octet-stream" });
    if (there) createReadStream(path).pipe(response);
    else response.end();
  });
  return new Promise((ready) => server.listen(port, "127.0.0.1", () => ready(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serve(import.meta.dirname, Number(process.argv[2] ?? 8000));
  console.log(`http://localhost:${server.address().port}`);
}
