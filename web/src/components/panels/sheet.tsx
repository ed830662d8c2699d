import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { focusComposer } from "../../state/view";
import { words } from "../../words";
import { Button } from "../button";

/** A dialog that keeps the focus inside, closes with Escape or a click beside it, and gives the focus back. */
export function Sheet(props: {
  title: string;
  place?: "side" | "centre" | "centre wide" | "whole";
  onClose: () => void;
  children: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    // What is to be typed or chosen; without such the button that closes.
    const first = dialog.current?.querySelector<HTMLElement>("[data-first]");
    first?.focus();
    if (first instanceof HTMLInputElement && first.type === "text") first.select();
    return () => {
      if (before instanceof HTMLElement && before.isConnected && before !== document.body) before.focus();
      else focusComposer();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class={`sheet ${props.place ?? "side"}`}
      aria-labelledby="sheet-title"
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onMouseDown={(event) => {
        if (event.target === dialog.current) props.onClose();
      }}
    >
      <div class="sheet-inside">
        <header class="sheet-head">
          <h2 id="sheet-title">{props.title}</h2>
          <Button icon="close" label={words.value.close} onClick={props.onClose} />
        </header>
        <div class="sheet-body">{props.children}</div>
      </div>
    </dialog>
  );
}
