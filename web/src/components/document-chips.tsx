import type { Attachment } from "../conversation";
import { number, words } from "../words";
import { Button } from "./button";
import { Icon } from "./icons";

/** The documents of a message. With `remove`, each can be taken out. */
export function DocumentChips({ documents, remove }: { documents: Attachment[]; remove?: (document: Attachment) => void }) {
  const say = words.value;
  if (documents.length === 0) return null;
  return (
    <ul class="chips" aria-label={say.attached}>
      {documents.map((each, index) => (
        <li class="chip" key={index}>
          <Icon name="file" />
          <span>{each.name}</span>
          <small>{say.characters(number(each.text.length))}</small>
          {remove && <Button icon="close" label={say.removeAttachment(each.name)} onClick={() => remove(each)} />}
        </li>
      ))}
    </ul>
  );
}
