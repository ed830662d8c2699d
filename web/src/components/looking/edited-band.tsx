import type { Message } from "../../conversation";
import { adapterInWords, adaptersIn, editsIn, variantOf } from "../../receipt";
import { words } from "../../words";
import { Icon } from "../icons";

/** Over an answer that a changed model gave, or one with adapters: which, and how far they were checked. */
export function EditedBand({ message: { receipt } }: { message: Message }) {
  const variant = receipt && variantOf(receipt);
  if (!variant) return null;
  const say = words.value;
  const [edits, adapters] = [editsIn(receipt), adaptersIn(receipt)];
  if (edits.length === 0 && adapters.length > 0) {
    const regressed = adapters.some(({ state }) => state === "regression");
    return (
      <p class={regressed ? "edited" : "adapted"}>
        {regressed && <Icon name="warning" />}
        <span>{say.adaptedAnswer(adapters.map((each) => adapterInWords(each, say.adapterStates)).join("; "))}</span>
      </p>
    );
  }
  return (
    <p class="edited">
      <Icon name="warning" />
      <span>{say.editedAnswer(edits.join(", "))}</span>
    </p>
  );
}
