/** `ouvert serve` itself, on a free port, with an empty folder for what it keeps. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const OUVERT = fileURLToPath(new URL("../../../.venv/bin/ouvert", import.meta.url));

const PYTHON = fileURLToPath(new URL("../../../.venv/bin/python", import.meta.url));

export interface Serving {
  address: string;
  home: string;
  stop: () => Promise<void>;
}

/** The path of SmolLM2, which is fetched if it is not there. */
export function smollm2(): string {
  execFileSync(OUVERT, ["pull", "smollm2"], { stdio: "ignore" });
  return (JSON.parse(execFileSync(OUVERT, ["show", "smollm2", "--json"], { encoding: "utf8" })) as { path: string }).path;
}

export const serve = (...models: string[]): Promise<Serving> => serveIn(mkdtempSync(join(tmpdir(), "ouvert-home-")), models);

/** Over the models, agents and files of desk_home.py, which are very small and say what they are told. */
export async function serveDesk(): Promise<Serving> {
  const home = mkdtempSync(join(tmpdir(), "ouvert-desk-"));
  const models = execFileSync(PYTHON, [fileURLToPath(new URL("desk_home.py", import.meta.url)), home], { encoding: "utf8" });
  return serveIn(home, models.trim().split("\n"));
}

async function serveIn(home: string, models: string[]): Promise<Serving> {
  const server: ChildProcess = spawn(OUVERT, ["serve", ...models, "--port", "0", "--context", "2048"], { env: { ...process.env, OUVERT_HOME: home } });
  let said = "";
  const address = await new Promise<string>((ready, failed) => {
    server.stderr?.on("data", (piece: Buffer) => {
      said += piece.toString();
      const found = /Ready at (http:\S+)/.exec(said);
      if (found?.[1]) ready(`${found[1]}/`);
    });
    server.on("exit", () => failed(new Error(`ouvert serve ended: ${said}`)));
  });
  const stop = async () => {
    const ended = new Promise((done) => server.once("exit", done));
    server.kill("SIGTERM");
    await ended;
    rmSync(home, { recursive: true });
  };
  return { address, home, stop };
}

/** A direction of SmolLM2 from what is between two lists of prompts, among what the server of that folder keeps. */
export function makeDirection(home: string, name: string, positive: string[], negative: string[]): void {
  const files = [positive, negative].map((prompts, n) => {
    const file = join(home, `prompts-${n}.txt`);
    writeFileSync(file, prompts.join("\n"));
    return file;
  });
  const [one = "", other = ""] = files;
  execFileSync(OUVERT, ["direction", "make", name, "--model", smollm2(), "--positive", one, "--negative", other], { env: { ...process.env, OUVERT_HOME: home }, stdio: "pipe" });
}
