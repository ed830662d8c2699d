import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { current, path } from "../../state/open-conversations";

const NEAR_END = 80; // pixels: closer than this, the view follows the answer

/** The view follows the end of the conversation as it grows, until somebody scrolls up. */
export function useFollowedEnd() {
  const scroller = useRef<HTMLDivElement>(null);
  const isFollowing = useRef(true);
  const lastTop = useRef(0);
  const [isAway, setAway] = useState(false);
  const toEnd = () => scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  useLayoutEffect(() => {
    isFollowing.current = true;
    toEnd();
  }, [current.value.id, path.value.length]);
  useEffect(() => {
    const inside = scroller.current?.firstElementChild;
    if (!inside) return;
    const observer = new ResizeObserver(() => isFollowing.current && toEnd());
    observer.observe(inside);
    return () => observer.disconnect();
  }, []);
  const onScroll = ({ currentTarget: at }: { currentTarget: HTMLElement }) => {
    // Somebody who scrolls up wants to stay there. An answer that grew since the last scroll is no such wish.
    if (at.scrollHeight - at.scrollTop - at.clientHeight < NEAR_END) isFollowing.current = true;
    else if (at.scrollTop < lastTop.current) isFollowing.current = false;
    lastTop.current = at.scrollTop;
    setAway(!isFollowing.current);
  };
  return { scroller, onScroll, isAway, toEnd };
}
