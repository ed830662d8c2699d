/** A hub on this machine for `ouvert serve` with HF_ENDPOINT: one repository, whose large file stops coming until released. */
import { createHash } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import { readdirSync, readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

const COMMIT = "c0ffee00".repeat(5);
const isLarge = (name: string) => name.endsWith(".safetensors");

export class FakeHub {
  readonly files: Map<string, Buffer>;
  readonly ranges: (string | undefined)[] = []; // of every request for the large file
  readonly held: ServerResponse[] = [];
  holdAfter: number | null = null; // bytes of each answer
  address = "";
  private readonly server = createServer((request, response) => this.answer(request.url ?? "", request.headers.range, response));

  constructor(readonly repository: string, folder: string) {
    this.files = new Map(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))]));
  }

  async start(): Promise<void> {
    await new Promise<void>((done) => this.server.listen(0, "127.0.0.1", done));
    this.address = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((done) => this.server.close(done));
  }

  private answer(url: string, range: string | undefined, response: ServerResponse): void {
    const path = decodeURIComponent(url.split("?")[0] ?? "");
    if (path.startsWith(`/api/models/${this.repository}`)) {
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ id: this.repository, sha: COMMIT, cardData: { license: "apache-2.0" }, siblings: this.siblings() }));
      return;
    }
    const name = path.split("/").at(-1) ?? "";
    const content = this.files.get(name);
    if (!content) return void response.writeHead(404, { "X-Error-Code": "EntryNotFound" }).end("{}");
    const start = range ? Number(/bytes=(\d+)-/.exec(range)?.[1]) : 0;
    const body = content.subarray(start);
    if (isLarge(name)) this.ranges.push(range);
    response.writeHead(start ? 206 : 200, { "Content-Length": body.length, "X-Repo-Commit": COMMIT, ETag: `"${name}"`, ...(start ? { "Content-Range": `bytes ${start}-${content.length - 1}/${content.length}` } : {}) });
    if (isLarge(name) && this.holdAfter !== null) {
      this.held.push(response);
      response.write(body.subarray(0, this.holdAfter)); // and nothing more until the client has gone
    } else response.end(body);
  }

  private siblings(): object[] {
    return [...this.files].map(([rfilename, content]) => ({
      rfilename,
      size: content.length,
      blobId: createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex"),
      ...(isLarge(rfilename) ? { lfs: { sha256: createHash("sha256").update(content).digest("hex"), size: content.length, pointerSize: 134 } } : {}),
    }));
  }
}
