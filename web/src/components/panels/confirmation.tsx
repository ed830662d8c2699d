import { closePanel } from "../../state/view";
import { words } from "../../words";
import { Sheet } from "./sheet";

interface ConfirmationProps {
  title: string;
  text: string;
  detail?: string; // exactly what is meant: a title, an address
  yes: string;
  act: () => void;
  back?: () => void; // where the reader comes from, if not from the conversation
  isFinal?: boolean; // it cannot be undone: the button shows that, and Enter alone does not do it
}

/** Something is done only after it was asked about. */
export function Confirmation({ title, text, detail, yes, act, back = closePanel, isFinal = false }: ConfirmationProps) {
  return (
    <Sheet title={title} place="centre" onClose={back}>
      <p>{text}</p>
      {detail && <p class="address">{detail}</p>}
      <div class="row-of-buttons end">
        <button type="button" class="plain" onClick={back} data-first={isFinal || undefined}>
          {words.value.cancel}
        </button>
        <button
          type="button"
          class={isFinal ? "primary final" : "primary"}
          data-first={!isFinal || undefined}
          onClick={() => {
            back();
            act();
          }}
        >
          {yes}
        </button>
      </div>
    </Sheet>
  );
}
