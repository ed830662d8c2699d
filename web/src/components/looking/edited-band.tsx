import type { Message } from "../../conversation";
import { editsIn, variantOf } from "../../receipt";
import { words } from "../../words";
import { Icon } from "../icons";

/** Over an answer that a changed model gave. */
export function EditedBand({ message: { receipt } }: { message: Message }) {
  const variant = receipt && variantOf(receipt);
  if (!variant) return null;
  return (
    <p class="edited">
      <Icon name="warning" />
      <span>{words.value.editedAnswer(editsIn(receipt).join(", "))}</span>
    </p>
  );
}
