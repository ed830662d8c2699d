import { siblings, type Message } from "../../conversation";
import { showVersion } from "../../state/conversations";
import { current, generation } from "../../state/open-conversations";
import { words } from "../../words";
import { Button } from "../button";

/** Which of its versions a message is, and the way to the others. */
export function Versions({ message }: { message: Message }) {
  const say = words.value;
  const all = siblings(current.value, message);
  if (all.length < 2) return null;
  const at = all.findIndex((each) => each.id === message.id);
  const go = (to: Message | undefined) => to && showVersion(to);
  return (
    <span class="versions">
      <Button icon="left" label={say.previousVersion} disabled={at === 0 || !!generation.value} onClick={() => go(all[at - 1])} />
      <span>{say.versionOf(at + 1, all.length)}</span>
      <Button icon="right" label={say.nextVersion} disabled={at === all.length - 1 || !!generation.value} onClick={() => go(all[at + 1])} />
    </span>
  );
}
