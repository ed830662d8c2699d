import type { ComponentChildren } from "preact";
import { words } from "../../words";
import { Button } from "../button";
import { copyText } from "../clipboard";

export function Group({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section>
      <h3>{title}</h3>
      {children}
    </section>
  );
}

/** One fact; nothing if the receipt does not state it. `isPart`: of the row above. `mark`: its colour in the bar. */
export function Row(props: { name: string; value: string | undefined; isPart?: boolean; mark?: string }) {
  if (!props.value) return null;
  return (
    <div class={props.isPart ? "fact part" : "fact"}>
      <span>
        {props.mark && <i class={`key ${props.mark}`} />}
        {props.name}
      </span>
      <span>{props.value}</span>
    </div>
  );
}

/** The two ends of a digest are shown; the title and the clipboard have all of it. */
export function Digest({ name, value }: { name: string; value: string | undefined }) {
  if (!value) return null;
  return (
    <div class="fact">
      <span>{name}</span>
      <span class="digest">
        <code title={value}>{`${value.slice(0, 15)}…${value.slice(-6)}`}</code>
        <Button icon="copy" label={words.value.about(words.value.copy, name)} onClick={() => void copyText(value)} />
      </span>
    </div>
  );
}

/** A bar whose parts are as wide as their share of the whole. */
export function Bar({ parts }: { parts: [string, number | undefined][] }) {
  const total = parts.reduce((sum, [, value]) => sum + (value ?? 0), 0);
  if (total === 0) return null;
  let x = 0;
  return (
    <svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">
      {parts.map(([name, value]) => {
        const width = ((value ?? 0) / total) * 100;
        x += width;
        return <rect key={name} class={name} x={x - width} width={width} height="4" />;
      })}
    </svg>
  );
}
