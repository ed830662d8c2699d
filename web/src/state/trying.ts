/** An answer written again: changed, and beside it with a random change of the same size. */
import type { Message, Sampling, WireMessage } from "../conversation";
import type { Edit } from "../edits";
import { numberAt } from "../receipt";
import { streamAnswer } from "../server/answers";
import { requestUpTo } from "./looking";
import type { Task } from "./work";

export interface Tried {
  original: string;
  changed: string;
  control: string;
}

/** Two answers to the question that `message` answers, with its own sampling and seed, so that only the change differs. */
export function tryingTask(message: Message, changed: Edit[], control: Edit[]): Task<Tried> {
  const asked = { ...requestUpTo(message.parent, message.model), sampling: samplingOf(message) };
  const seconds = 2 * ((message.receipt && (numberAt(message.receipt, "seconds", "prefill") ?? 0) + (numberAt(message.receipt, "seconds", "decode") ?? 0)) ?? 0);
  return {
    price: () => Promise.resolve({ seconds, bytes: 0 }),
    async run(signal, progress) {
      const most = 2 * Math.max(1, message.text.length);
      let written = 0;
      const write = async (edits: Edit[]) => {
        const text = await textOf({ ...asked, edits }, signal, (piece) => progress(Math.min(0.99, (written += piece) / most)));
        return text;
      };
      return { original: message.text, changed: await write(changed), control: await write(control) };
    },
  };
}

type Asked = { model: string; messages: WireMessage[]; sampling: Sampling; edits: Edit[] };

async function textOf(asked: Asked, signal: AbortSignal, more: (characters: number) => void): Promise<string> {
  let text = "";
  for await (const event of streamAnswer(asked, signal)) {
    if (event.kind !== "text") continue;
    text += event.text;
    more(event.text.length);
  }
  return text;
}

const SAMPLING = ["temperature", "top_p", "top_k", "min_p", "seed"] as const;

/** As the receipt has it; as long as the answer that it is of. */
export function samplingOf({ receipt, usage }: Message): Sampling {
  const stated = SAMPLING.map((name) => [name, receipt && numberAt(receipt, "sampling", name)] as const).filter(([, value]) => value !== undefined);
  const length = usage?.completion_tokens ?? (receipt && numberAt(receipt, "tokens", "output"));
  return { ...Object.fromEntries(stated), ...(length === undefined ? {} : { max_tokens: length }) };
}
