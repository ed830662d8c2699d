import { useState } from "preact/hooks";
import { words } from "../../words";
import { copyText } from "../clipboard";
import { Button } from "../button";

const SAID_FOR = 1500; // milliseconds

export function CopyButton({ text }: { text: string }) {
  const [said, setSaid] = useState<string | null>(null);
  return (
    <Button
      icon={said ? "check" : "copy"}
      label={said ?? words.value.copy}
      disabled={!text}
      onClick={() =>
        void copyText(text).then((result) => {
          setSaid(result);
          setTimeout(() => setSaid(null), SAID_FOR);
        })
      }
    />
  );
}
