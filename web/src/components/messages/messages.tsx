import type { Message } from "../../conversation";
import { generation, path } from "../../state/open-conversations";
import { words } from "../../words";
import { Button } from "../button";
import { Answer } from "./answer";
import { useFollowedEnd } from "./followed-end";
import { Question } from "./question";
import { Welcome } from "./welcome";

/** The branch in view. */
export function Messages() {
  const { scroller, onScroll, isAway, toEnd } = useFollowedEnd();
  const messages = path.value;
  return (
    <div class="scroller" ref={scroller} onScroll={onScroll}>
      <div class="column">
        {messages.length === 0 ? <Welcome /> : messages.map((each) => <MessageView key={each.id} message={each} />)}
      </div>
      {isAway && messages.length > 0 && <Button class="to-end" icon="down" label={words.value.jumpToEnd} onClick={toEnd} />}
    </div>
  );
}

function MessageView({ message }: { message: Message }) {
  const say = words.value;
  const writing = generation.value?.message === message.id ? generation.value : undefined;
  return (
    <article class={`message ${message.role}`} aria-label={message.role === "user" ? say.you : (message.model ?? say.assistant)}>
      {message.role === "user" ? <Question message={message} /> : <Answer message={message} writing={writing} />}
    </article>
  );
}
