import type { Message } from "../../conversation";
import { lookAway, lookingAt, lookInside } from "../../state/looking";
import { isOwner } from "../../state/session";
import { words } from "../../words";
import { Button } from "../button";

/** Opens the inside of an answer, and closes it again. */
export function LookButton({ message }: { message: Message }) {
  if (!isOwner.value) return null; // only the owner of the machine may look
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
