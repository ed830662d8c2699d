import type { Message } from "../../conversation";
import { lookAway, lookingAt, lookInside } from "../../state/looking";
import { mayInspect } from "../../state/session";
import { words } from "../../words";
import { Button } from "../button";

/** Opens the inside of an answer, and closes it again. */
export function LookButton({ message }: { message: Message }) {
  if (!mayInspect.value) return null;
  const isOpen = lookingAt(message.id) !== undefined;
  return (
    <Button
      icon="eye"
      shown
      label={isOpen ? words.value.lookAway : words.value.lookInside}
      expanded={isOpen}
      disabled={!message.text || !message.model}
      onClick={() => (isOpen ? lookAway(message.id) : lookInside(message))}
    />
  );
}
