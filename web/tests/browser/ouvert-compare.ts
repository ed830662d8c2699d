/** `ouvert compare open` itself, over a comparison of two very small models, on a free port. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const place = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const [OUVERT, PYTHON, MAKE] = [place("../../../.venv/bin/ouvert"), place("../../../.venv/bin/python"), place("comparison_folder.py")];

export interface Comparing {
  address: string;
  votes: () => Record<string, unknown>[]; // what stands in votes.jsonl
  addVotes: (votes: object[]) => void; // as other voters do
  stop: () => Promise<void>;
}

export async function openComparison(): Promise<Comparing> {
  const home = mkdtempSync(join(tmpdir(), "ouvert-compare-"));
  const folder = execFileSync(PYTHON, [MAKE, home], { encoding: "utf8" }).trim();
  const server: ChildProcess = spawn(OUVERT, ["compare", "open", folder, "--port", "0", "--no-browser"], { env: { ...process.env, OUVERT_HOME: home } });
  let said = "";
  const address = await new Promise<string>((ready, failed) => {
    server.stderr?.on("data", (piece: Buffer) => {
      said += piece.toString();
      const found = /Open (http:\S+)/.exec(said);
      if (found?.[1]) ready(found[1]);
    });
    server.on("exit", () => failed(new Error(`ouvert compare open ended: ${said}`)));
  });
  const stop = async () => {
    const ended = new Promise((done) => server.once("exit", done));
    server.kill("SIGTERM");
    await ended;
    rmSync(home, { recursive: true });
  };
  const votes = () => readFileSync(join(folder, "votes.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line) as Record<string, unknown>);
  const addVotes = (more: object[]) => appendFileSync(join(folder, "votes.jsonl"), more.map((each) => `${JSON.stringify(each)}\n`).join(""));
  return { address, votes, addVotes, stop };
}
