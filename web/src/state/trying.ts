/** An answer written again: changed, and beside it with a random change of the same size; and what that is in numbers. */
import type { Message, Sampling, WireMessage } from "../conversation";
import type { Edit, Positions } from "../edits";
import { numberAt } from "../receipt";
import { streamAnswer } from "../server/answers";
import type { Trace } from "../trace";
import { requestUpTo } from "./looking";
import { measured, type Measured } from "./measuring";
import type { Task } from "./work";

export interface Tried {
  original: string;
  changed: string;
  control: string;
  measured: Measured;
}

/** What is tried: the change, and the same by chance, several times. */
export interface Trial {
  changed: Edit[];
  controls: Edit[][];
  positions: Positions;
}

/** Two answers to the question that `message` answers, with its own sampling and seed, so that only the change differs; then the measures. */
export function tryingTask(message: Message, trace: Trace, { changed, controls, positions }: Trial): Task<Tried> {
  const asked = { ...requestUpTo(message.parent, message.model), sampling: samplingOf(message) };
  const reading = 2 * (controls.length + 2); // sequences that are read to measure
  const { receipt } = message;
  const [prefill, decode] = [(receipt && numberAt(receipt, "seconds", "prefill")) ?? 0, (receipt && numberAt(receipt, "seconds", "decode")) ?? 0];
  return {
    price: () => Promise.resolve({ seconds: 2 * decode + (2 + reading) * prefill, bytes: 0 }),
    async run(signal, progress) {
      const steps = 2 + reading;
      let done = 0;
      const step = () => progress((done += 1) / (steps + 1));
      const write = async (edits: Edit[]) => {
        const text = await textOf({ ...asked, edits }, signal);
        step();
        return text;
      };
      return {
        original: message.text,
        changed: await write(changed),
        control: await write(controls[0] ?? []),
        measured: await measured(asked.model, trace, changed, controls, positions, signal, step),
      };
    },
  };
}

type Asked = { model: string; messages: WireMessage[]; sampling: Sampling; edits: Edit[] };

async function textOf(asked: Asked, signal: AbortSignal): Promise<string> {
  let text = "";
  for await (const event of streamAnswer(asked, signal)) if (event.kind === "text") text += event.text;
  return text;
}

const SAMPLING = ["temperature", "top_p", "top_k", "min_p", "seed"] as const;

/** As the receipt has it; as long as the answer that it is of. */
export function samplingOf({ receipt, usage }: Message): Sampling {
  const stated = SAMPLING.map((name) => [name, receipt && numberAt(receipt, "sampling", name)] as const).filter(([, value]) => value !== undefined);
  const length = usage?.completion_tokens ?? (receipt && numberAt(receipt, "tokens", "output"));
  return { ...Object.fromEntries(stated), ...(length === undefined ? {} : { max_tokens: length }) };
}
