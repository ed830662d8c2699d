/** Work that may take long: its price is said before it begins, how far it is while it goes on, and it can be stopped. */
import { isAbort } from "../server/http";
import { beginWork, dropWork, planWork, workProgress, type Plan } from "../server/works";
import { errorText } from "./notices";

export type WorkState<Result> =
  | { step: "pricing" }
  | { step: "priced"; plan: Plan } // it takes so long that its reader is asked first
  | { step: "working"; share: number | undefined } // how much of it is done, 0 to 1
  | { step: "done"; result: Result }
  | { step: "failed"; why: string };

/** What a piece of work is made of. */
export interface Task<Result> {
  price?: (signal: AbortSignal) => Promise<Plan>; // without it, it is begun at once
  run: (signal: AbortSignal, progress: (share: number | undefined) => void) => Promise<Result>;
}

const NOTHING: Plan = { seconds: 0, bytes: 0 };
const UNASKED_SECONDS = 3; // what takes no longer is begun without a question

/** One attempt at a task. `show` is told where it stands; undefined: nobody wants it any more. */
export class Work<Result> {
  private controller = new AbortController();

  constructor(
    private readonly task: Task<Result>,
    private readonly show: (state: WorkState<Result> | undefined) => void,
  ) {}

  /** Finds out the price; what takes little is begun at once. */
  async ask(): Promise<void> {
    await this.attempt(async (signal) => {
      this.show({ step: "pricing" });
      const plan = (await this.task.price?.(signal)) ?? NOTHING;
      signal.throwIfAborted();
      if (plan.seconds > UNASKED_SECONDS) this.show({ step: "priced", plan });
      else await this.run(signal);
    });
  }

  async begin(): Promise<void> {
    await this.attempt((signal) => this.run(signal));
  }

  stop(): void {
    this.controller.abort();
    this.show(undefined);
  }

  private async run(signal: AbortSignal): Promise<void> {
    this.show({ step: "working", share: undefined });
    const result = await this.task.run(signal, (share) => {
      if (!signal.aborted) this.show({ step: "working", share });
    });
    signal.throwIfAborted();
    this.show({ step: "done", result });
  }

  private async attempt(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.controller.abort();
    const { signal } = (this.controller = new AbortController());
    try {
      await work(signal);
    } catch (problem) {
      if (!signal.aborted) this.show(isAbort(problem) ? undefined : { step: "failed", why: errorText(problem) });
    }
  }
}

/** Work that the server does; `finish` makes of it what is wanted. Where it is stopped, the server stops too. */
export function serverTask<Result>(place: string, asked: object, finish: (id: string) => Promise<Result>): Task<Result> {
  return {
    price: (signal) => planWork(place, asked, signal),
    async run(signal, progress) {
      const id = await beginWork(place, asked, signal);
      try {
        for await (const share of workProgress(place, id, signal)) progress(share);
        return await finish(id);
      } catch (problem) {
        letGo(place, id);
        throw problem;
      }
    },
  };
}

/** The server need not hold it any longer. */
export function letGo(place: string, id: string): void {
  dropWork(place, id).catch(() => undefined); // gone already, or the server is
}
