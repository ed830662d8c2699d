/** Tabs as the ARIA pattern has them: one stop for Tab, arrow keys between them, the panel named by its tab. */
import type { ComponentChildren } from "preact";
import { useId, useRef } from "preact/hooks";
import { moveInLine } from "../figures/moves";

interface TabsProps {
  label: string;
  names: string[];
  at: number;
  choose: (index: number) => void;
  children: ComponentChildren; // the panel of the chosen one
}

export function Tabs({ label, names, at, choose, children }: TabsProps) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const go = (index: number) => {
    choose(index);
    list.current?.querySelectorAll<HTMLElement>("[role=tab]")[index]?.focus();
  };
  return (
    <div class="tabs">
      <div
        ref={list}
        class="tab-list"
        role="tablist"
        aria-label={label}
        onKeyDown={(event) => {
          const to = moveInLine(event, at, names.length);
          if (to === undefined) return;
          event.preventDefault();
          go(to);
        }}
      >
        {names.map((name, n) => (
          <button key={name} type="button" class="quiet-button" role="tab" id={`${id}-tab-${n}`} aria-controls={`${id}-panel`} aria-selected={n === at} tabindex={n === at ? 0 : -1} onClick={() => go(n)}>
            {name}
          </button>
        ))}
      </div>
      <div class="tab-panel" role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-tab-${at}`} tabindex={0}>
        {children}
      </div>
    </div>
  );
}
