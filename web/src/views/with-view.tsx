import type { ComponentChildren } from "preact";
import { look } from "../words/look";
import { HowComputed, KindLabel } from "./kind-label";
import type { How, Kind } from "../trace";
import type { Loaded } from "./source";

/** A view once it is there, under what it may claim and above how it is computed; until then, and instead, a sentence. */
export function WithView<View extends { kind: Kind; how: How }>({ loaded, children }: { loaded: Loaded<View>; children: (view: View) => ComponentChildren }) {
  const say = look.value;
  if (loaded.state === "loading") return <p role="status">{say.computing}</p>;
  if (loaded.state === "missing")
    return (
      <p class="no-view" role="status">
        <strong>{say.noView}</strong> <span lang="en">{loaded.why}</span>
      </p>
    );
  return (
    <>
      <KindLabel kind={loaded.view.kind} />
      {children(loaded.view)}
      <HowComputed how={loaded.view.how} />
    </>
  );
}
