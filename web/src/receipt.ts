/** Reading a receipt (docs/formats/receipt.md). What a receipt does not state is absent here too. */
import type { Json, Receipt } from "./conversation";

export function at(receipt: Receipt, ...names: string[]): Json | undefined {
  let value: Json | undefined = receipt;
  for (const name of names) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    value = value[name];
  }
  return value;
}

export function numberAt(receipt: Receipt, ...names: string[]): number | undefined {
  const value = at(receipt, ...names);
  return typeof value === "number" ? value : undefined;
}

export function textAt(receipt: Receipt, ...names: string[]): string | undefined {
  const value = at(receipt, ...names);
  return typeof value === "string" ? value : undefined;
}

export interface Connections {
  attempted: number;
  allowed: number;
  denied: number;
}

/** How many connections were counted, or undefined where the receipt does not say: never a zero that was not stated. */
export function connectionsOf(receipt: Receipt): Connections | undefined {
  const [attempted, allowed, denied] = ["attempted", "allowed", "denied"].map((name) => count(at(receipt, "connections", name)));
  return attempted === undefined || allowed === undefined || denied === undefined ? undefined : { attempted, allowed, denied };
}

/** Tokens of older turns that were not sent because the context was full. */
export function refusedOf(receipt: Receipt): number {
  const messages = at(receipt, "messages");
  if (!Array.isArray(messages)) return 0;
  return messages.reduce<number>((sum, each) => sum + (numberAt({ each }, "each", "refused") ?? 0), 0);
}

const count = (value: Json | undefined) => (Array.isArray(value) ? value.length : typeof value === "number" ? value : undefined);

/** Tokens written a second: all but the first, over the time since the first. */
export function speedOf(receipt: Receipt): number | undefined {
  const tokens = numberAt(receipt, "tokens", "output");
  const seconds = numberAt(receipt, "seconds", "decode");
  return tokens !== undefined && seconds !== undefined && tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : undefined;
}

/** The digest of the changes that an answer was computed with; undefined for the model as it is. */
export function variantOf(receipt: Receipt): string | undefined {
  const variant = textAt(receipt, "engine", "variant");
  return variant === "base" ? undefined : variant;
}

/** An adapter that answered, and how far it was checked. `digest` is of its numbers. */
export interface AdapterUsed {
  name: string;
  state: string;
  digest: string;
}

/** An adapter and its state as people read them; a state that the page does not know is shown as it is. */
export const adapterInWords = ({ name, state }: { name: string; state: string }, states: Record<string, string>) =>
  `${name}, ${states[state] ?? state}`;

/** The adapters that a receipt names, in the order in which they add. */
export function adaptersIn(receipt: Receipt): AdapterUsed[] {
  const adapters = at(receipt, "adapters");
  if (!Array.isArray(adapters)) return [];
  return adapters.map((adapter) => {
    const [name, state, digest] = ["name", "state", "digest"].map((field) => textAt({ adapter }, "adapter", field) ?? "?");
    return { name, state, digest } as AdapterUsed;
  });
}

/** The edits that a receipt lists, in few words each: "add layers.12.out × 0.3". */
export function editsIn(receipt: Receipt): string[] {
  const edits = at(receipt, "edits");
  if (!Array.isArray(edits)) return [];
  return edits.map((edit) => {
    const strength = numberAt({ edit }, "edit", "strength");
    return `${textAt({ edit }, "edit", "operation") ?? "?"} ${textAt({ edit }, "edit", "tap") ?? "?"}${strength === undefined ? "" : ` × ${strength}`}`;
  });
}
